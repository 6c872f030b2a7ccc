"""What is possible with K points: the Bayes-optimal prediction for sinusoids."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mlcode.checks import check_int
from mlcode.learner import MetaLearner
from mlcode.sources.sinusoids import Sinusoids
from mlcode.tasks import Examples


class BayesSinusoids(MetaLearner):
    """Knows from which distribution waves come, and predicts the mean of those that fit.

    Of all functions of a support set and a query this has the least mean squared error on tasks of
    `source`; what another learner's error lies above it is that learner's *regret*. Amplitudes and
    phases are put on a grid; each pair (A, φ) weighs as much as it makes the support set likely, a
    Gaussian of the source's noise around A sin(x − φ). The mean of waves is a wave,
    E[A sin(x − φ)] = E[A cos φ] sin x − E[A sin φ] cos x, so that two numbers answer every query.

    A grid is blind to what lies between its points. The noise is therefore taken to be at least
    half a cell, which leaves an error of about that, squared.

    Args:
        source: Whose waves they are: the intervals of amplitude and phase, and the noise.
        n_amplitudes: Grid points along the amplitude.
        n_phases: Grid points along the phase.

    Raises:
        TypeError: If a count is not an integer.
        ValueError: If a count is below 2; on call, if x and y of a support set differ in number.
    """

    amplitude: Tensor
    phase: Tensor

    def __init__(self, source: Sinusoids, n_amplitudes: int = 200, n_phases: int = 400) -> None:
        super().__init__(loss_fn=F.mse_loss)
        check_int("n_amplitudes", n_amplitudes, minimum=2)
        check_int("n_phases", n_phases, minimum=2)
        axes = (_midpoints(source.amplitude, n_amplitudes), _midpoints(source.phase, n_phases))
        amplitude, phase = torch.meshgrid(*axes, indexing="ij")
        self.register_buffer("amplitude", amplitude.flatten())
        self.register_buffer("phase", phase.flatten())
        low, high = source.amplitude
        width, height = (high - low) / n_amplitudes, (source.phase[1] - source.phase[0]) / n_phases
        self.noise = max(source.noise, width / 2, abs(high) * height / 2)

    def predict(
        self, support: Examples, query_x: Float[Tensor, "example feature=1"]
    ) -> Float[Tensor, "example target=1"]:
        """The posterior mean at each query."""
        sine, cosine = self.posterior_mean(support)
        x = query_x.double()
        return (sine * x.sin() - cosine * x.cos()).to(query_x)

    def posterior_mean(self, support: Examples) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """E[A cos φ] and E[A sin φ] given the support set of one task."""
        weight = self.posterior(support)
        return (
            (weight * self.amplitude * self.phase.cos()).sum(),
            (weight * self.amplitude * self.phase.sin()).sum(),
        )

    def posterior(self, support: Examples) -> Float[Tensor, "grid"]:
        """The probability of each grid point, amplitude by amplitude, given one support set."""
        if len(support.x) == 0:
            return torch.full_like(self.amplitude, 1 / len(self.amplitude))
        x, y = support.x.double().flatten(), support.y.double().flatten()
        if len(x) != len(y):
            raise ValueError(f"expected one target for each x; got {len(y)} for {len(x)}.")
        a, b = self.amplitude * self.phase.cos(), self.amplitude * self.phase.sin()
        s, c = x.sin(), x.cos()
        # Σ (y − a sin x + b cos x)², multiplied out: five sums over the examples serve all waves.
        square = a**2 * (s @ s) - 2 * a * b * (s @ c) + b**2 * (c @ c)
        square = square - 2 * (a * (y @ s) - b * (y @ c))
        return torch.softmax(-square / (2 * self.noise**2), 0)

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        return f"{len(self.amplitude)} waves, noise={self.noise:.3g}"


def _midpoints(interval: tuple[float, float], n: int) -> Float[Tensor, "n"]:
    low, high = interval
    return low + (high - low) * (torch.arange(n, dtype=torch.float64) + 0.5) / n

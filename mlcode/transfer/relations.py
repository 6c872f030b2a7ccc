"""Transfer by relations: teach how examples lie to one another, not where they lie."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from mlcode.checks import check_spread
from mlcode.learner import LossFn, Mapping
from mlcode.optimization.inner_loop import Parameters
from mlcode.optimization.maml import MAML
from mlcode.tasks import Examples


class RelationalTransfer(MAML):
    """Fit a student to the support set while its features copy the relations in a teacher's.

    A source network, the teacher, is frozen. The target network, the student, may have another
    architecture and another number of features, since only distances and angles among the
    examples are compared (Park, Kim, Lu and Cho, 2019). Each task starts from the same student
    and takes gradient steps on

        loss_fn(prediction, y) + distance · distance_loss + angle · angle_loss.

    Args:
        student: A network with the modules `body` or any other, and `head`, the last layer: what
            enters `head` are its features. A `ConvNet` is one.
        teacher: From inputs to features, such as a pre-trained `ConvNet(None)`.
        lr: Rate of the gradient steps.
        n_steps: How many.
        distance: Weight of the distance-wise loss; 0 leaves it out. The paper's are 25 and, for
            `angle`, 50 in metric learning.
        angle: Weight of the angle-wise loss.
        loss_fn: As in `MetaLearner`.
        statistics: As in `MAML`.
        mapping: See `MetaLearner`.
        chunk_size: See `MetaLearner`.

    Raises:
        TypeError: As `MAML`.
        ValueError: As `MAML`, or if a weight is negative, or the student has no `head`.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        lr: float = 0.01,
        n_steps: int = 50,
        distance: float = 1.0,
        angle: float = 2.0,
        loss_fn: LossFn = F.cross_entropy,
        statistics: str = "query",
        mapping: Mapping = "auto",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(
            student,
            inner_lr=lr,
            n_inner_steps=n_steps,
            loss_fn=loss_fn,
            first_order=True,
            statistics=statistics,
            mapping=mapping,
            chunk_size=chunk_size,
        )
        check_spread("distance", distance)
        check_spread("angle", angle)
        head = getattr(student, "head", None)
        if not isinstance(head, nn.Module):
            raise ValueError("student needs a module `head`, whose input are its features.")
        self._head = (head,)  # in a tuple, or it would be registered a second time
        self.teacher = teacher
        self.distance, self.angle = distance, angle

    def support_loss(self, theta: Parameters, support: Examples) -> Float[Tensor, ""]:
        """The task's loss and the two relational ones."""
        features: list[Tensor] = []
        hook = self._head[0].register_forward_pre_hook(lambda _, args: features.append(args[0]))
        try:
            prediction = functional_call(self.model, theta, (support.x,))
        finally:
            hook.remove()
        loss = self.loss(prediction, support.y)
        taught = self.teacher(support.x).detach()
        if self.distance > 0:
            loss = loss + self.distance * distance_loss(features[0], taught)
        if self.angle > 0:
            loss = loss + self.angle * angle_loss(features[0], taught)
        return loss


def distance_loss(
    student: Float[Tensor, "example feature"], teacher: Float[Tensor, "example other_feature"]
) -> Float[Tensor, ""]:
    """Huber loss between the pairwise distances of two sets of features, each over its mean.

    Dividing by the mean distance makes it blind to the scale of either (Park et al., 2019,
    section 3.2.1). The mean is over ordered pairs of different examples. 0 for fewer than 2.
    """
    if len(student) < 2:
        return student.sum() * 0
    return F.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))


def angle_loss(
    student: Float[Tensor, "example feature"], teacher: Float[Tensor, "example other_feature"]
) -> Float[Tensor, ""]:
    """Huber loss between the cosines of the angles that triples of examples form.

    ∠(i, j, k) at the corner j, over all triples (Park et al., 2019, section 3.2.2). An angle with
    a side of length 0 has cosine 0. 0 for fewer than 3 examples.
    """
    if len(student) < 3:
        return student.sum() * 0
    different = 1 - torch.eye(len(student), dtype=student.dtype, device=student.device)
    # Over triples of three different examples: corner j, sides to i and k.
    triples = different[:, :, None] * different[:, None, :] * different[None]
    apart = F.smooth_l1_loss(_cosines(student), _cosines(teacher), reduction="none")
    return (apart * triples).sum() / triples.sum()


def _relative_distances(z: Tensor) -> Tensor:
    n = len(z)
    squares = (z[:, None] - z[None]).square().sum(-1)
    distances = _sqrt(squares)
    pairs = n * (n - 1)
    mean = distances.sum() / pairs
    off_diagonal = distances.flatten()[1:].view(n - 1, n + 1)[:, :-1]  # all but the n zeros
    return off_diagonal / torch.where(mean > 0, mean, 1.0)


def _cosines(z: Tensor) -> Float[Tensor, "corner example example"]:
    sides = z[None] - z[:, None]  # sides[j, i] leads from the corner j to i
    length = _sqrt(sides.square().sum(-1, keepdim=True))
    sides = sides / torch.where(length > 0, length, 1.0)
    return sides @ sides.transpose(1, 2)


def _sqrt(squares: Tensor) -> Tensor:
    """√, with derivative 0 at 0, where two examples coincide."""
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)

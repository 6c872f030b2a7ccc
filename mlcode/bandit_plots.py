"""Pictures of bandits: games, regret against pulls, and what a state knows."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from mlcode.model_based.bandit_games import Games
from mlcode.plotting import COLOURS


def draw_games(ax: Axes, games: Games, *, names: Sequence[str]) -> None:
    """A row a game and a mark a pull: which arm, and whether it paid.

    Args:
        ax: Where to draw.
        games: The first game at the top. A pull is a letter, the arm's, in blue where it paid and
            in grey where it did not.
        names: A letter for each arm.
    """
    n_games, n_pulls = games.arms.shape
    for row, (arms, rewards) in enumerate(zip(games.arms.tolist(), games.rewards.tolist())):
        for pull, (arm, reward) in enumerate(zip(arms, rewards), start=1):
            colour = COLOURS["blue"] if reward else COLOURS["grey"]
            weight = "bold" if reward else "normal"
            ax.text(pull, row, names[arm], ha="center", va="center", color=colour, weight=weight)
    ax.set(xlim=(0.4, n_pulls + 0.6), ylim=(n_games - 0.5, -0.5), xlabel="pull", ylabel="game")
    ax.set_xticks(range(1, n_pulls + 1))
    ax.set_yticks(range(n_games), [str(row + 1) for row in range(n_games)])
    ax.grid(visible=False)


def draw_regret(ax: Axes, regret: Mapping[str, Float[Tensor, "task pull"]]) -> None:
    """Mean regret up to each pull, with its 95 % interval over tasks as a band.

    Args:
        ax: Where to draw.
        regret: A label with what each pull cost, as `Bandits.regret` gives it.
    """
    for (label, cost), colour in zip(regret.items(), COLOURS.values()):
        total = cost.double().cumsum(1).numpy()
        mean = total.mean(0)
        half = 1.96 * total.std(0, ddof=1) / np.sqrt(len(total))
        pulls = np.arange(1, len(mean) + 1)
        ax.plot(pulls, mean, label=label, color=colour)
        ax.fill_between(pulls, mean - half, mean + half, color=colour, alpha=0.2, lw=0)
    ax.set(xlabel="pulls", ylabel="regret so far")


def draw_agreement(
    ax: Axes, exact: Float[Tensor, "case"], found: Float[Tensor, "case"], *, colour: str = "blue"
) -> None:
    """What was found against what is exact, a dot a case, with the line on which they agree.

    Args:
        ax: Where to draw.
        exact: On the horizontal axis.
        found: On the vertical one.
        colour: A key of `COLOURS`.
    """
    ends = (float(exact.min()), float(exact.max()))
    ax.plot(exact.numpy(), found.numpy(), ".", ms=3, alpha=0.3, color=COLOURS[colour], mew=0)
    ax.plot(ends, ends, color=COLOURS["black"], lw=0.8)

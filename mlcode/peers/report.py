"""The ledger's rows, and how they are written: as text in a notebook, as Markdown on a page."""

from collections.abc import Iterable
from dataclasses import dataclass

from mlcode.peers.importing import PEERS, WRITTEN, peer_name
from mlcode.peers.meta_step import largest
from mlcode.tables import render

FINITE_DIFFERENCES = "finite differences"

# Largest relative difference that passes. Float64 leaves 16 digits, of which different orders of
# the same sums cost one or two; float32 leaves 7. Finite differences lose half of 16.
TOLERANCES = {"float64": 1e-10, "float32": 1e-5, FINITE_DIFFERENCES: 1e-6}

COLUMNS = ("loss", "meta-gradient", "parameters")


@dataclass(frozen=True)
class Row:
    """How far mlcode's step is from one other's; see `meta_step.difference` for the unit.

    Args:
        peer: An import name, "finite differences", or another witness as the table calls it.
        gradient: Of the meta-gradient.
        loss: Of the loss. None: not compared.
        parameters: Of the parameters after the step. None: not compared.
        recorded: The day of the record from which the row was read. None: computed now.
    """

    peer: str
    gradient: float
    loss: float | None = None
    parameters: float | None = None
    recorded: str | None = None

    @property
    def cells(self) -> tuple[str, str, str]:
        """The three differences as text; not compared is empty."""
        return _written(self.loss), _written(self.gradient), _written(self.parameters)

    @property
    def worst(self) -> float:
        """The largest of the differences."""
        return largest(v for v in (self.loss, self.gradient, self.parameters) if v is not None)


@dataclass(frozen=True)
class Report:
    """One algorithm's step in one setting, dtype and device, against all that could be asked.

    `print(report)` gives the table. Peers that are not installed are answered for by the recorded
    ledger where it has their row, and the table says so.
    """

    algorithm: str
    setting: str
    dtype: str
    device: str
    rows: tuple[Row, ...]
    absent: tuple[str, ...] = ()  # peers that are not installed here

    @property
    def worst(self) -> float:
        """The largest difference from a peer, recorded rows included; 0 if there is no peer."""
        return largest(r.worst for r in self.rows if r.peer != FINITE_DIFFERENCES)

    @property
    def finite_differences(self) -> float | None:
        """How far the meta-gradient is from measured slopes; None if they were not measured."""
        found = [row.worst for row in self.rows if row.peer == FINITE_DIFFERENCES]
        return found[0] if found else None

    def check(self) -> None:
        """Raise AssertionError, with the table, if a difference is above its tolerance."""
        for row in self.rows:
            kind = row.peer if row.peer == FINITE_DIFFERENCES else self.dtype
            if not row.worst <= TOLERANCES[kind]:  # written so that NaN fails too
                raise AssertionError(
                    f"{row.peer}: {row.worst:.1e} is above the tolerance of "
                    f"{TOLERANCES[kind]:.0e}.\n{self}"
                )

    def entries(self) -> list[dict]:
        """The rows as a record holds them."""
        return [
            {
                "algorithm": self.algorithm,
                "setting": self.setting,
                "dtype": self.dtype,
                "peer": row.peer,
                "loss": row.loss,
                "gradient": row.gradient,
                "parameters": row.parameters,
            }
            for row in self.rows
        ]

    def __str__(self) -> str:
        title = f"{self.algorithm}, {self.setting}, {self.dtype}, {self.device}"
        lines = [title, _line("", COLUMNS)]
        for row in self.rows:
            name = peer_name(row.peer) if row.peer in PEERS else row.peer
            mark = " *" if row.recorded else ""
            lines.append(_line(f"mlcode  against  {name}{mark}", row.cells))
        dates = {row.recorded for row in self.rows if row.recorded}
        if self.absent:
            written = ", ".join(WRITTEN.get(name, name) for name in self.absent)
            lines.append(f"Not installed here: {written}.")
        if dates:
            lines.append(
                f"* Recorded on {', '.join(sorted(dates))} with the ledger's network and tasks."
            )
        return "\n".join(line.rstrip() for line in lines)


def ledger_table(*records: dict, style: str = "markdown") -> str:
    """Recorded ledgers as one table, with a line for each that says where it was made.

    Args:
        records: As `read_record("cross_checks_cpu")` returns them, one for each device.
        style: "markdown" for a page, "text" for a notebook's output.

    Raises:
        ValueError: If `style` is neither.
    """
    head = ("step", "arithmetic", "mlcode against", *COLUMNS)
    body = [
        _ledger_cells(entry, record["environment"])
        for record in records
        for entry in record["result"]["rows"]
    ]
    table = render(head, body, n_words=3, style=style)
    where = "\n\n".join(made_where(record["environment"]) for record in records)
    return f"{table}\n\n{where}"


def made_where(made_in: dict) -> str:
    """A sentence: the device, the processor, torch and the day."""
    on = made_in["processor"] if made_in["device"] == "cpu" else made_in["device"]
    return (
        f"Computed on {made_in['date']} on {on} with torch {made_in['torch']}, "
        f"Python {made_in['python']}, {made_in['threads']} threads."
    )


def _ledger_cells(entry: dict, made_in: dict) -> tuple[str, ...]:
    peer = entry["peer"]
    number = made_in.get(peer)
    name = f"{WRITTEN.get(peer, peer)} {number}" if number else peer
    row = Row(peer, entry["gradient"], entry["loss"], entry["parameters"])
    step = f"{entry['algorithm']}, {entry['setting']}"
    return (step, f"{entry['dtype']}, {made_in['device']}", name, *row.cells)


def _written(difference: float | None) -> str:
    if difference is None:
        return ""
    return f"{difference:.1e}" if difference else "0"


def _line(first: str, cells: Iterable[str]) -> str:
    return f"{first:<37}" + "".join(f"{cell:<15}" for cell in cells)

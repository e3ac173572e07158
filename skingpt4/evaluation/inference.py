"""Asking systems the four questions about every case, in batches, shared out over processes."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from accelerate import PartialState
from tqdm import tqdm

from skingpt4.common.errors import EvaluationError
from skingpt4.evaluation.cases import EvalCase, case_list_hash
from skingpt4.evaluation.responses import (
    Answer,
    Header,
    Response,
    Responses,
    ResponseWriter,
    in_case_order,
    read_responses,
    write_responses,
)
from skingpt4.evaluation.systems import Record, describe_environment

logger = logging.getLogger(__name__)

PART_SUFFIX = ".part"

# A process waits this long for the others; a full model's share takes hours.
PATIENCE = timedelta(days=2)


class Answerer(Protocol):
    """Whatever answers questions about photos."""

    def __call__(self, cases: Sequence[EvalCase]) -> list[list[Answer]]:
        """Return each case's answers."""


@dataclass(frozen=True)
class Contender:
    """A system that takes part.

    Attributes:
        name: Its name in all tables.
        describe: Returns what it takes to repeat its answers.
        make: Makes its answerer; called only where a case is left to answer.
    """

    name: str
    describe: Callable[[], Record]
    make: Callable[[], Answerer]


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """Its name in all tables."""


N = TypeVar("N", bound=Named)


def choose_named(systems: Sequence[N], only: Sequence[str]) -> list[N]:
    """Return the systems that are named, or all.

    Raises:
        EvaluationError: If two share a name, or a name is none of theirs.
    """
    names = [system.name for system in systems]
    for name in names:
        if names.count(name) > 1:
            raise EvaluationError(f"Two systems have the name '{name}'; give each its own.")
    for name in only:
        if name not in names:
            raise EvaluationError(
                f"--only names the system '{name}', which is none of: {', '.join(names)}."
            )
    return [system for system in systems if not only or system.name in only]


def join_processes(cpu: bool = False) -> PartialState:
    """Return accelerate's view of the processes, one or many."""
    return PartialState(cpu=cpu, timeout=PATIENCE)


def answer_all(
    path: Path,
    cases: Sequence[EvalCase],
    contenders: Sequence[Contender],
    batch_size: int,
    state: PartialState,
    asked: Sequence[EvalCase] | None = None,
) -> None:
    """Answer what ``path`` does not hold yet; every process calls this.

    Each process appends to a file of its own, so that nothing answered is lost; the main process
    merges them, at the end and, after an interruption, at the start.

    Args:
        path: The file of answers.
        cases: The whole case list.
        contenders: Who answers.
        batch_size: Cases at once.
        state: This process's place among those that share the cases.
        asked: Those to be answered now; by default all.

    Raises:
        EvaluationError: If ``path`` belongs to another case list or other systems.
    """
    order = [case.id for case in cases]
    header: Header = {"case_list": case_list_hash(cases)}
    if state.is_main_process:
        ResponseWriter(path, {**header, **_describe(contenders, batch_size, state)})
        merge_parts(path, order)
    state.wait_for_everyone()
    done = {row.key for row in read_responses(path).rows}
    own = (cases if asked is None else asked)[state.process_index :: state.num_processes]
    writer = ResponseWriter(_part(path, state.process_index), header)
    for contender in contenders:
        left = [case for case in own if (case.id, contender.name) not in done]
        if left:
            for response in _answer_share(contender, left, batch_size, state.is_main_process):
                writer.write(response)
    state.wait_for_everyone()
    if state.is_main_process:
        merge_parts(path, order)
    state.wait_for_everyone()


def _describe(contenders: Sequence[Contender], batch_size: int, state: PartialState) -> Header:
    environment = describe_environment(state.device, state.num_processes, batch_size)
    systems = {contender.name: contender.describe() for contender in contenders}
    return {"systems": systems, "environments": [environment]}


def _answer_share(
    contender: Contender, cases: Sequence[EvalCase], batch_size: int, show: bool
) -> Iterator[Response]:
    """Answer this process's cases; the main process shows how far it is."""
    answerer = contender.make()
    hidden = None if show else True
    with tqdm(desc=contender.name, total=len(cases), unit="case", disable=hidden) as progress:
        for start in range(0, len(cases), batch_size):
            batch = cases[start : start + batch_size]
            yield from respond(contender.name, answerer, batch)
            progress.update(len(batch))


def respond(system: str, answerer: Answerer, batch: Sequence[EvalCase]) -> list[Response]:
    """Answer a batch; where that fails, its cases one by one, recording which fail and why."""
    try:
        answers = answerer(batch)
    except Exception as error:  # a model, a photo or a server can fail in any way
        if len(batch) > 1:
            return [row for case in batch for row in respond(system, answerer, [case])]
        logger.warning("case %s could not be answered: %s", batch[0].id, type(error).__name__)
        return [Response(batch[0].id, system, [], _reason(error))]
    return [Response(case.id, system, own) for case, own in zip(batch, answers, strict=True)]


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _part(path: Path, index: int) -> Path:
    return path.with_name(f"{path.name}{PART_SUFFIX}{index}")


def merge_parts(path: Path, case_order: Sequence[str]) -> None:
    """Merge the processes' files into ``path``, in the order of systems and cases."""
    parts = sorted(path.parent.glob(f"{path.name}{PART_SUFFIX}*"))
    merged = read_responses(path)
    rows = [*merged.rows, *(row for part in parts for row in read_responses(part).rows)]
    ordered = in_case_order(rows, case_order, list(merged.header["systems"]))
    write_responses(path, Responses(merged.header, ordered))
    for part in parts:
        part.unlink()

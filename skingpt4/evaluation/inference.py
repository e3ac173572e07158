"""Asking systems about every case, in batches, shared out over processes; resumable."""

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from accelerate import PartialState
from tqdm import tqdm

from skingpt4.common.environment import describe_environment
from skingpt4.evaluation.cases import EvalCase, case_list_hash
from skingpt4.evaluation.responses import (
    Response,
    Responses,
    ResponseWriter,
    read_responses,
    write_responses,
)

if TYPE_CHECKING:
    from skingpt4.evaluation.systems import Interview, SystemUnderTest

logger = logging.getLogger(__name__)

PART_SUFFIX = ".part"

# How long a process waits for the others: a full model's share takes hours.
PATIENCE = timedelta(days=2)

# Parts of the environment's description that change from one start to the next.
VOLATILE = ("time", "arguments", "variables")

# Characters of an error's message that are kept.
LONGEST_REASON = 300


def join_processes(cpu: bool = False) -> PartialState:
    """Return accelerate's view of the processes, one or many."""
    return PartialState(cpu=cpu, timeout=PATIENCE)


def answer_all(
    path: Path,
    cases: Sequence[EvalCase],
    systems: "Sequence[SystemUnderTest]",
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
        systems: Who answers.
        batch_size: Cases at once.
        state: This process's place among those that share the cases.
        asked: Those to be answered now; by default all.

    Raises:
        EvaluationError: If ``path`` belongs to another case list or other systems.
    """
    case_list = case_list_hash(cases)
    if state.is_main_process:
        records = {system.name: system.describe() for system in systems}
        environment = {**describe_environment(state.num_processes), "batch_size": batch_size}
        # What differs at each start would make another machine of the same one.
        environment = {key: environment[key] for key in environment if key not in VOLATILE}
        environment["device"] = state.device.type
        header = {"case_list": case_list, "systems": records, "environments": [environment]}
        # Opening checks the header: other systems are refused before anything is answered.
        ResponseWriter(path, header)
        merge_parts(path, cases)
    state.wait_for_everyone()
    done = {row.key for row in read_responses(path).rows}
    # Every n-th case: hard ones, which often stand together, are then shared out as well.
    own = (cases if asked is None else asked)[state.process_index :: state.num_processes]
    part = path.with_name(f"{path.name}{PART_SUFFIX}{state.process_index}")
    writer = ResponseWriter(part, {"case_list": case_list})
    for system in systems:
        left = [case for case in own if (case.id, system.name) not in done]
        if left:
            for response in _answer_share(system, left, batch_size, state.is_main_process):
                writer.write(response)
    state.wait_for_everyone()
    if state.is_main_process:
        merge_parts(path, cases)
    state.wait_for_everyone()


def _answer_share(
    system: "SystemUnderTest", cases: Sequence[EvalCase], batch_size: int, show: bool
) -> Iterator[Response]:
    """Answer this process's cases; the main process shows how far it is."""
    # Held by this frame alone, so that the model goes before the next one is loaded.
    interview = system.load()
    hidden = None if show else True  # None: tqdm hides the bar where no terminal reads it
    with tqdm(desc=system.name, total=len(cases), unit="case", disable=hidden) as progress:
        for start in range(0, len(cases), batch_size):
            batch = cases[start : start + batch_size]
            yield from respond(system.name, interview, batch)
            progress.update(len(batch))


def respond(system: str, interview: "Interview", batch: Sequence[EvalCase]) -> list[Response]:
    """Answer a batch; where that fails, its cases one by one, recording which fail and why."""
    try:
        answers = interview(batch)
    except Exception as error:  # a model, a photo or a server can fail in any way
        if len(batch) > 1:
            return [row for case in batch for row in respond(system, interview, [case])]
        kind = type(error).__name__
        # The message goes into the file alone: it may quote what the log must not hold.
        logger.warning("case %s could not be answered: %s", batch[0].id, kind)
        message = " ".join(str(error).split())[:LONGEST_REASON]
        return [Response(batch[0].id, system, [], f"{kind}: {message}")]
    return [Response(case.id, system, own) for case, own in zip(batch, answers, strict=True)]


def merge_parts(path: Path, cases: Sequence[EvalCase]) -> None:
    """Merge the processes' files into ``path``, in the order of systems and cases."""
    parts = sorted(path.parent.glob(f"{path.name}{PART_SUFFIX}*"))
    merged = read_responses(path)
    rows = [*merged.rows, *(row for part in parts for row in read_responses(part).rows)]
    latest = {row.key: row for row in rows}  # a case answered twice counts once, the last
    order = [(case.id, system) for system in merged.systems for case in cases]
    ordered = [latest[key] for key in order if key in latest]
    write_responses(path, Responses(merged.header, ordered))
    for part in parts:
        part.unlink()

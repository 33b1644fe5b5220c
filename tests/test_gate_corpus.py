"""What the gate promises without anybody's judgement, measured on the adversarial corpus."""

from collections.abc import Sequence

import anyio
import pytest

from tests.gate_corpus.__main__ import run
from tests.gate_corpus.corpus import FAMILIES, HELD_OUT, PAIRS, Family, documents, load, repository
from tests.gate_corpus.results import Figures, all_figures, misses
from tests.gate_corpus.staging import Trial

# Families in which no false pair gets in, as far as it can be decided without judgement.
CLOSED = {
    "altered_number",
    "altered_quote",
    "quote_from_another_source",
    "invented_source",
    "placeholder_evidence",
    "self_citation",
    "circular_evidence",
    "exact_duplicate",
    "instruction_hidden",
    "secret_in_evidence",
}
REFUSED_MAX = 0.02
FLAGGED_MAX = 0.02
FLAGGED_OF_PROMPTS_MAX = 0.10
UNDECIDABLE_MAX = 6  # in the closed families; each says why


def tried(preset: str) -> tuple[list[Family], list[Trial]]:
    families = load(PAIRS)
    return families, anyio.run(run, families, [preset])


def broken(families: Sequence[Family], preset: str, trials: list[Trial]) -> list[str]:
    """The promises that a preset does not keep, with the pairs that show it."""
    *rows, together = all_figures(families, preset, trials)
    faults = [f"{row.family}: {row.decidable_unseen} unseen" for row in rows if _leaks(row)]
    if together.rejects > REFUSED_MAX * together.true:
        faults.append(f"{together.rejects} of {together.true} true ones refused")
    prompts = next(row for row in rows if row.family == "instruction_hidden")
    if prompts.flags > FLAGGED_OF_PROMPTS_MAX * prompts.true:
        faults.append(f"{prompts.flags} of {prompts.true} texts about prompts flagged")
    others = together.flags - prompts.flags
    if others > FLAGGED_MAX * together.true:
        faults.append(f"{others} other true ones flagged")
    return [*faults, *misses(trials)] if faults else []


def _leaks(row: Figures) -> bool:
    return row.family in CLOSED and row.decidable_unseen > 0


def test_standard_lets_in_nothing_that_can_be_decided_and_refuses_hardly_anything_true() -> None:
    families, trials = tried("standard")

    assert broken(families, "standard", trials) == []
    assert not any(trial.outcome == "judgement" for trial in trials)
    # What needs judgement is reported as such: nobody tunes it away.
    assert sum(trial.false_accept for trial in trials if trial.pair.family not in CLOSED) > 20


@pytest.mark.long
def test_strict_leaves_to_judgement_what_no_rule_decides() -> None:
    families, trials = tried("strict")

    assert broken(families, "strict", trials) == []
    assert not any(trial.outcome == "admitted" for trial in trials)
    absence = [trial for trial in trials if trial.pair.family == "absence_overclaimed"]
    assert not any(trial.unseen and trial.pair.decidable for trial in absence)


@pytest.mark.long
def test_open_refuses_nothing_true_and_keeps_secrets_out() -> None:
    families, trials = tried("open")

    rows = {row.family: row for row in all_figures(families, "open", trials)}
    assert rows["all"].rejects == 0
    assert rows["secret_in_evidence"].accepts == rows["instruction_hidden"].accepts == 0
    assert rows["altered_quote"].accepts == rows["altered_quote"].false


@pytest.mark.long
def test_pairs_that_no_check_was_mended_by_come_out_alike() -> None:
    families = load(HELD_OUT)

    rows = all_figures(families, "standard", anyio.run(run, families, ["standard"]))
    assert sum(row.decidable_unseen for row in rows[:-1]) <= 0.1 * rows[-1].false
    assert rows[-1].rejects <= 0.05 * rows[-1].true


def test_the_corpus_is_large_balanced_and_covers_every_family() -> None:
    families = load(PAIRS)
    pairs = [pair for family in families for pair in family.pairs]

    assert [family.name for family in families] == list(FAMILIES)
    assert len(pairs) >= 300
    assert abs(sum(pair.true for pair in pairs) / len(pairs) - 0.5) < 0.01
    assert min(len(family.pairs) for family in families) >= 20
    assert len({pair.draft.fields["gist"] for pair in pairs}) == len(pairs)
    assert len(documents()) + len(repository()) >= 12
    assert {family.name for family in families if family.needs} == set(FAMILIES) - CLOSED


def test_what_the_closed_families_leave_undecided_is_little() -> None:
    undecided = [
        pair
        for family in load(PAIRS)
        if family.name in CLOSED
        for pair in family.pairs
        if not pair.true and not pair.decidable
    ]
    assert 0 < len(undecided) <= UNDECIDABLE_MAX


def test_held_out_pairs_are_in_no_other_file() -> None:
    known = {pair.draft.fields["gist"] for family in load(PAIRS) for pair in family.pairs}
    held = [pair for family in load(HELD_OUT) for pair in family.pairs]

    assert len(held) >= 60
    assert not [pair.id for pair in held if pair.draft.fields["gist"] in known]

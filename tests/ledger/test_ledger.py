"""The ledger: every claim is there, and its evidence still gives its verdict."""

import json
import re
import string
import time
from dataclasses import replace
from pathlib import Path

import pytest

from minimistral import paper
from minimistral.evaluation import decisions
from minimistral.ledger import (
    CLAIMS,
    FALSE,
    HOW,
    LIMITS,
    OPEN,
    TRUE,
    Claim,
    Finding,
    decided_in,
    find,
    judge,
    model,
    results,
)
from minimistral.ledger.claim import _run

ROOT = Path(__file__).parents[2]
NOTEBOOKS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}

# Each claim by its name for ever, its verdict, and what its reason must say.
EXPECTED = {
    "seven-billion-parameters": (LIMITS, "7,241,732,096", "7.24 billion"),
    "better-than-llama-2-13b": (
        FALSE, "11 of 12", "28.8 against 29.0", "1.1", "MMLU, Arc-e, Arc-c, MBPP, MATH and GSM8K"),
    "better-than-llama-1-34b": (OPEN, "0 rows"),
    "close-to-code-llama": (LIMITS, "−0.6 ± 5.1", "−5.0 ± 4.4", "10 other"),
    "three-times-its-size": (OPEN, "2.3 ± 0.1", "3.4 ± 0.2", "1.8 ± 0.1"),
    "reaches-131k-tokens": (LIMITS, "131,072", "131,040"),
    "context-128k-out-of-16k": (FALSE, "16,384", "16,383"),
    "twice-as-fast-at-16k": (LIMITS, "2.29", "1.15"),
    "linear-in-the-window": (TRUE, "2.07", "4.00"),
    "window-is-plain-masking": (FALSE, "268 million", "134 million", "59 million"),
    "no-rope-rescaling": (LIMITS, "10,000", "1,000,000", "8,192", "32,768"),
    "eight-times-less-cache": (TRUE, "4 GiB", "512 MiB"),
    "cache-of-hundreds-of-mb": (FALSE, "4 GiB", "16 GiB", "512 MiB"),
    "speed-does-not-suffer": (TRUE, "1.00", "2.97"),
    "overwritten-beyond-w": (FALSE, "4 slots", "position 4"),
    "sees-i-minus-w-to-i": (FALSE, "5 for W = 4", "it is 4"),
    "gqa-four-times-less": (LIMITS, "exactly 4", "1.22", "3.15", "1.10"),
    "gqa-memory-and-speed": (OPEN, "1.8 times", "3.9 times"),
    "prefill-5-to-2-seconds": (OPEN, "532", "747", "1.4"),
    "chunks-of-the-window": (TRUE, "1, 7, 31, 32, 33 and 100", "window is 32"),
    "versions-of-the-model": (TRUE, "8,192", "32,768"),
    "best-7b-chat": (LIMITS, "6.84 ± 0.07", "6.27", "0.02", "10 runs"),
    "comparable-to-13b-chat": (LIMITS, "above 3 of the 4", "7.2", "above 2"),
    "preferred-by-people": (LIMITS, "5,020 of 9,163", "54.8 %", "53.8 to 55.8 %"),
    "public-instruction-data": (OPEN,),
    "declines-unsafe-prompts": (LIMITS, "175", "1.7 %", "2.1 %", "0.26 ± 0.03", "6.58", "6.65"),
    "moderation-99-percent": (FALSE, "99.4 %", "95.6 %", "97.5 %", "0.6 %", "81 %"),
    "trained-on-public-corpora": (OPEN,),
    "checkpoint-averaging": (OPEN, "+0.139", "−0.003", "−0.096"),
    "apache-licence": (TRUE,),
    "three-sided-trade-off": (LIMITS, "1.5 trillion", "16.6"),
}  # fmt: skip
BY_SLUG = [pytest.param(claim, id=claim.slug) for claim in CLAIMS]


def test_every_claim_is_there_once_and_in_order():
    assert [claim.slug for claim in CLAIMS] == list(EXPECTED)
    assert len(EXPECTED) == 31


@pytest.mark.parametrize("claim", BY_SLUG)
def test_the_evidence_gives_the_verdict(claim):
    verdict, *told = EXPECTED[claim.slug]
    assert claim.verdict == claim.finding().verdict == verdict and claim.holds()
    reason = claim.reason()
    for part in told:
        assert part in reason


@pytest.mark.parametrize("claim", BY_SLUG)
def test_a_reason_shows_every_figure_of_its_evidence(claim):
    named = {name for _, name, _, _ in string.Formatter().parse(claim.because) if name}
    assert named == claim.finding().figures.keys()


def test_all_evidence_together_takes_seconds():
    _run.cache_clear()
    model._tiny.cache_clear()
    start = time.process_time()
    assert all(claim.holds() for claim in CLAIMS)
    assert time.process_time() - start < 20


def saved_output(cell):
    """The text of a code cell's saved outputs."""
    parts = []
    for output in cell["outputs"]:
        data = output.get("data", {"text/plain": output.get("text", "")})
        parts.append("".join(data.get("text/plain", "")))
    return "\n".join(parts)


@pytest.mark.parametrize("claim", BY_SLUG)
def test_the_cells_that_decide_it_show_what_they_are_named_for(claim):
    for named in claim.cells:
        notebook = json.loads(NOTEBOOKS[named.lesson].read_text(encoding="utf-8"))
        cells = [cell for cell in notebook["cells"] if cell["id"] == named.id]
        assert len(cells) == 1, named
        tags = cells[0]["metadata"].get("tags", [])
        assert "nbval-ignore-output" not in tags and "nbval-skip" not in tags, named
        assert named.shows in saved_output(cells[0]), named


def test_at_least_half_of_the_claims_about_the_model_have_a_cell():
    decided = [claim for claim in CLAIMS if set(claim.lessons) & {f"{n:02}" for n in range(11)}]
    assert len(decided) > 15 and sum(bool(claim.cells) for claim in decided) > len(decided) / 2


def test_the_record_that_a_reason_cites():
    record = json.loads((ROOT / "benchmarks/cpu.json").read_text(encoding="utf-8"))
    times = {row["what"]: row["median"] for row in record["rows"] if row["config"] == "7b-layer"
             and row["engine"] == "np"}  # fmt: skip
    ratio = times["decode at 16 W"] / times["decode at W"]
    assert f"In benchmarks/cpu.json one layer of the 7B takes {ratio:.2f} times as long" in (
        find("speed-does-not-suffer").reason()
    )


# The verdicts follow from the numbers: other numbers, other verdicts.


def changed(table, **rows):
    return paper.Table(table.source, {**table.rows, **rows})


def test_a_better_nq_would_make_it_better_on_all(monkeypatch):
    rows = {"Mistral 7B": {**paper.TABLE_2.rows["Mistral 7B"], "NQ": 29.1}}
    monkeypatch.setattr(paper, "TABLE_2", changed(paper.TABLE_2, **rows))
    assert results.better_than_13b().verdict == TRUE


def test_code_that_is_far_behind_is_not_close(monkeypatch):
    rows = {"Mistral 7B": {**paper.TABLE_2.rows["Mistral 7B"], "MBPP": 35.0}}
    monkeypatch.setattr(paper, "TABLE_2", changed(paper.TABLE_2, **rows))
    assert results.code().verdict == FALSE


def test_what_is_kept_is_kept_by_more_than_chance(monkeypatch):
    rows = {"Mistral 7B": {**paper.TABLE_2.rows["Mistral 7B"], "PIQA": 73.0}}  # 0.2 above
    monkeypatch.setattr(paper, "TABLE_2", changed(paper.TABLE_2, **rows))
    assert results.code().verdict == FALSE


def test_a_row_of_a_34b_could_be_compared(monkeypatch):
    rows = {"Llama 1 34B": paper.TABLE_2.rows["Llama 2 13B"]}
    monkeypatch.setattr(paper, "TABLE_2", changed(paper.TABLE_2, **rows))
    assert results.rows_of_34b().verdict != OPEN


def test_fewer_votes_for_it_are_no_preference(monkeypatch):
    monkeypatch.setattr(paper, "VOTES", changed(paper.VOTES, **{"Mistral 7B": 4200}))
    assert results.votes().verdict == FALSE  # more than half, but not by more than chance


def test_one_unsafe_answer_is_not_all_declined(monkeypatch):
    monkeypatch.setattr(paper, "UNSAFE_PROMPTS", changed(paper.UNSAFE_PROMPTS, declined=174))
    assert results.guardrail().verdict == FALSE


def test_another_7b_that_scores_higher_is_better(monkeypatch):
    row = replace(paper.TABLE_3.rows["Vicuna 7B"], mt_bench=paper.Score(6.8))
    monkeypatch.setattr(paper, "TABLE_3", changed(paper.TABLE_3, **{"Vicuna 7B": row}))
    assert results.chat_of_7b().verdict == FALSE


def test_an_accuracy_of_994_would_be_one(monkeypatch):
    monkeypatch.setattr(decisions, "PAPER", decisions.Confusion(0.497, 0.003, 0.003, 0.497))
    assert results.moderation().verdict == TRUE


def test_which_differences_stand_does_not_hang_on_the_parts_that_were_used():
    """TriviaQA and MBPP have larger parts, and the paper does not say which it used."""
    for other in ("Llama 2 13B", "Code-Llama 7B"):
        one, two = (results.standing(results.compared(other, larger)) for larger in (False, True))
        assert one == two
    alone = [n for n, each in results.compared("Llama 2 13B").items() if each.p < 0.05]
    assert set(alone) - set(results.standing(results.compared("Llama 2 13B"))) == {"HumanEval"}


def test_a_text_in_a_cache_of_a_broken_engine_is_seen(monkeypatch):
    monkeypatch.setattr(model, "_through_a_cache", lambda chunk: (0.1, None))
    assert model.rolling_memory().verdict == model.chunk_sizes().verdict == FALSE


# Entries


def test_find_and_decided_in():
    assert find("apache-licence").how == "cited"
    with pytest.raises(ValueError, match=r"slug must be one of seven.+ not 'nono'"):
        find("nono")
    for number in NOTEBOOKS:
        assert all(number in claim.lessons for claim in decided_in(number))
    listed = {number for claim in CLAIMS for number in claim.lessons}
    assert listed <= {f"{n:02}" for n in range(16)}
    assert all(claim.lessons for claim in CLAIMS)


def test_each_entry_is_told_in_words():
    for claim in CLAIMS:
        told = claim.lines()
        assert list(told)[:3] == ["Said by", "Verdict", "Why"]
        assert not re.search(r"[{}]|\bnan\b", "".join(told.values()))
        assert ("What would decide it" in told) == (claim.verdict == OPEN)
    told = find("three-times-its-size").lines()
    assert told["Said by"] == (
        "the paper (section 3, Size and Efficiency; Figure 5) and a Chinese digest"
    )
    assert told["Verdict"] == "cannot be decided here (not checkable)"
    assert find("gqa-four-times-less").source() == "a Russian digest"


def test_judge():
    assert [judge(True), judge(True, False), judge(False), judge(False, True)] == [
        TRUE, LIMITS, FALSE, FALSE
    ]  # fmt: skip


def nothing():
    return Finding(TRUE)


GOOD = {
    "slug": "mine", "claim": "A claim.", "said_by": ("A",), "where": "", "verdict": TRUE,
    "how": "computed", "because": "A reason.", "evidence": nothing,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"slug": "Mine"}, "slug must be of"),
        ({"slug": "my--claim"}, "slug must be of"),
        ({"claim": "No end"}, "claim must be a sentence"),
        ({"because": ""}, "because must be a sentence"),
        ({"said_by": ()}, "said_by must name"),
        ({"said_by": "A"}, "said_by must name"),
        ({"said_by": ("C",)}, "said_by must be one of paper, A, B, reader, not 'C'"),
        ({"said_by": ("paper",)}, "where must be given"),
        ({"where": "section 2"}, "where must be given"),
        ({"verdict": "maybe"}, "verdict must be one of true, "),
        ({"how": "guessed"}, "how must be one of computed, "),
        ({"verdict": FALSE}, "verdict of what is computed must be one of true, true within"),
        ({"verdict": OPEN, "how": "retold"}, "needs must say"),
        ({"needs": "More."}, "needs must say"),
        ({"evidence": None}, "evidence must be a function"),
    ],
)
def test_an_entry_of_your_own_is_checked(changes, named):
    assert Claim(**GOOD).holds()
    with pytest.raises(ValueError, match=named):
        Claim(**{**GOOD, **changes})


def test_a_wrong_verdict_does_not_hold():
    mine = Claim(**{**GOOD, "verdict": FALSE, "how": "corrected"})
    assert not mine.holds()


def test_each_way_to_a_verdict_is_used():
    assert {claim.how for claim in CLAIMS} == set(HOW)


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_a_lesson_names_the_claims_that_it_tries(number):
    """Under "In practice", each with its verdict; the web page makes links of the names."""
    cells = json.loads(NOTEBOOKS[number].read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    (practice,) = (text for text in texts if text.startswith("## In practice"))
    slugs = "|".join(EXPECTED)
    named = re.findall(rf"`({slugs})` \(([a-z ]+)\)", practice)
    assert named == [(claim.slug, claim.verdict) for claim in decided_in(number)]

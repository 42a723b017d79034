"""Evidence about the paper's results: computed from its own tables (`minimistral.paper`).

Each function returns a Finding and takes no argument.
"""

import json
import math

from minimistral import paper, tiny
from minimistral.config import ModelConfig
from minimistral.evaluation import decisions
from minimistral.evaluation.answers import interval
from minimistral.evaluation.errors import (
    Estimate,
    average,
    break_even_tokens,
    difference,
    equivalent_size,
    share,
    survives,
)
from minimistral.ledger.claim import LIMITS, OPEN, TRUE, Finding, judge

MISTRAL, LLAMA_13B, CODE_LLAMA = "Mistral 7B", "Llama 2 13B", "Code-Llama 7B"
BILLIONS = ModelConfig.mistral_7b().n_params / 1e9
CODE = paper.CATEGORIES["Code"]


def result(model: str, benchmark: str, larger_sets: bool = False) -> Estimate:
    """A share of Table 2 with its standard error. larger_sets: with `other` where there is one.

    >>> round(100 * result("Mistral 7B", "HumanEval").error, 1)
    3.6
    """
    tested = paper.BENCHMARKS[benchmark]
    n = tested.other if larger_sets and tested.other else tested.n
    return share(paper.TABLE_2.rows[model][benchmark] / 100, n)


def compared(other: str, larger_sets: bool = False) -> dict[str, Estimate]:
    """Mistral 7B less another model on each benchmark, with the error of the difference."""
    return {
        name: difference(result(MISTRAL, name, larger_sets), result(other, name, larger_sets))
        for name in paper.BENCHMARKS
    }


def standing(differences: dict[str, Estimate]) -> list[str]:
    """The benchmarks whose difference is more than chance (Holm, 5 % for all of them together)."""
    stands = survives({name: each.p for name, each in differences.items()})
    return [name for name in differences if stands[name]]


def better_than_13b() -> Finding:
    found = compared(LLAMA_13B)
    wins = [name for name, each in found.items() if each.value > 0]
    nq, stand = found["NQ"], standing(found)
    figures = {
        "wins": len(wins), "all": len(found), "stand": len(stand), "names": _listed(stand),
        "mistral": paper.TABLE_2.rows[MISTRAL]["NQ"], "llama": paper.TABLE_2.rows[LLAMA_13B]["NQ"],
        "error": 100 * nq.error,
    }  # fmt: skip
    return Finding(judge(len(wins) == len(found)), figures)


def rows_of_34b() -> Finding:
    rows = [name for name in paper.TABLE_2.rows if "34B" in name]
    return Finding(
        OPEN if not rows else TRUE, {"rows": len(rows), "models": len(paper.TABLE_2.rows)}
    )


def code() -> Finding:
    found = compared(CODE_LLAMA)
    rest = [name for name in found if name not in CODE]
    close = not set(CODE) & set(standing(found))
    kept = all(found[name].value > 0 for name in rest) and set(rest) <= set(standing(found))
    hidden = int(196 * min(found[name].error for name in CODE))  # 1.96 standard errors, in points
    figures: dict[str, object] = {"rest": len(rest), "hidden": hidden}
    for name in CODE:
        figures |= {name: 100 * found[name].value, f"{name}_error": 100 * found[name].error}
    return Finding(judge(close and kept, all(found[name].value >= 0 for name in CODE)), figures)


def times(size: Estimate) -> Estimate:
    """A size in billions as a multiple of Mistral 7B's."""
    return Estimate(size.value / BILLIONS, size.error / BILLIONS)


def equivalent() -> Finding:
    """MMLU off the line of Table 2, which ends at 13B, and off that of larger models elsewhere."""
    own = {model: [result(model, name) for name in ("MMLU", *paper.CATEGORIES["Knowledge"])]
           for model in (MISTRAL, "Llama 2 7B", LLAMA_13B)}  # fmt: skip
    mmlu = [each[0] for each in own.values()]
    knowledge = [average(each[1:]) for each in own.values()]
    n = paper.BENCHMARKS["MMLU"].n
    llama = {size: share(value / 100, n) for size, value in paper.LLAMA_2_MMLU.rows.items()}
    beyond = times(equivalent_size(mmlu[0], (7, mmlu[1]), (13, mmlu[2])))
    between = times(equivalent_size(mmlu[0], (13, llama[13]), (34, llama[34])))
    known = times(equivalent_size(knowledge[0], (7, knowledge[1]), (13, knowledge[2])))
    claimed = paper.EQUIVALENT_SIZE.rows["MMLU"]
    agree = (beyond.value > claimed) == (between.value > claimed)
    figures = {"beyond": beyond.value, "beyond_error": beyond.error, "between": between.value,
               "between_error": between.error, "known": known.value,
               "known_error": known.error}  # fmt: skip
    return Finding(LIMITS if agree else OPEN, figures)


def chat_of_7b() -> Finding:
    scores = {name: row.mt_bench for name, row in paper.TABLE_3.rows.items() if "7B" in name}
    ours = scores.pop("Mistral 7B Instruct")
    assert ours.deviation is not None
    next_best = max(each.value for each in scores.values())
    with_errors = all(each.deviation is not None for each in scores.values())
    figures = {"ours": ours.value, "deviation": ours.deviation, "next": next_best,
               "others": len(scores), "runs": paper.RUNS,
               "error": ours.deviation / math.sqrt(paper.RUNS)}  # fmt: skip
    return Finding(judge(ours.value > next_best + 2 * ours.deviation, with_errors), figures)


def chat_of_13b() -> Finding:
    ours = paper.TABLE_3.rows["Mistral 7B Instruct"]
    others = [row for name, row in paper.TABLE_3.rows.items() if "13B" in name]
    above = sum(ours.mt_bench.value > row.mt_bench.value for row in others)
    above_elo = sum(ours.elo > row.elo for row in others)
    best = max(row.mt_bench.value for row in others)
    figures = {"above": above, "above_elo": above_elo, "all": len(others), "best": best,
               "ours": ours.mt_bench.value}  # fmt: skip
    return Finding(judge(0 < above, above == above_elo == len(others)), figures)


def votes() -> Finding:
    ours, theirs = paper.VOTES.rows.values()
    low, high = interval(ours, ours + theirs)
    figures = {"share": 100 * ours / (ours + theirs), "low": 100 * low, "high": 100 * high,
               "ours": ours, "all": ours + theirs}  # fmt: skip
    # Within limits even so: how voters and questions were chosen is not published.
    return Finding(judge(low > 0.5, False), figures)


def guardrail() -> Finding:
    declined, prompts = (paper.UNSAFE_PROMPTS.rows[name] for name in ("declined", "all"))
    means = []
    for name in ("No system prompt", "Mistral system prompt"):
        row = paper.TABLE_4.rows[name]
        assert row.deviation is not None
        means.append(Estimate(row.value, row.deviation / math.sqrt(paper.RUNS)))
    cost, bound = difference(*means), decisions.upper_bound(prompts)
    figures = {"prompts": prompts, "bound": 100 * bound, "wilson": 100 * interval(0, prompts)[1],
               "cost": cost.value, "error": cost.error, "left": means[1].value,
               "llama": paper.TABLE_3.rows["Llama 2 13B Chat"].mt_bench.value}  # fmt: skip
    return Finding(judge(declined == prompts and cost.z > 2, bound == 0), figures)


def moderation() -> Finding:
    balanced = decisions.PAPER
    usual = balanced.at_base_rate(0.99)
    blocked = 1 - usual.swapped().precision  # of those called unsafe, the share that is acceptable
    figures = {"accuracy": 100 * balanced.accuracy, "let_through": 100 * balanced.false_rate,
               "blocked": 100 * blocked, **paper.MODERATION.rows}  # fmt: skip
    return Finding(judge(round(balanced.accuracy, 3) == 0.994), figures)


def averaging() -> Finding:
    """What averaging checkpoints does to the tiny model, read from the record beside it."""
    text = (tiny.FOLDER / "averaging.json").read_text(encoding="utf-8")
    rows = json.loads(text)["held_out_bits_per_byte"]

    def gain(**which: object) -> float:
        chosen = [row for row in rows if which.items() <= row.items()]
        return sum(row["last"] - row["average"] for row in chosen) / len(chosen)

    figures = {"stays": gain(step=1000, rate="stays"), "falls": gain(step=1000, rate="falls"),
               "early": gain(step=50)}  # fmt: skip
    return Finding(OPEN, figures)


def three_sides() -> Finding:
    """Llama 2 13B read 2e12 tokens (arXiv 2307.09288, Table 1); Mistral 7B read some number."""
    size, read = 13e9, 2e12
    guesses = (2e12, 4e12, 8e12)
    evens = [break_even_tokens(read, more, size, BILLIONS * 1e9) / 1e12 for more in guesses]
    depends = evens[0] == 0 < evens[1] < evens[2]
    return Finding(judge(depends, False), {"four": evens[1], "eight": evens[2]})


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"

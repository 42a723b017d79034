"""The tables of the paper as data (arXiv 2310.06825), and the sizes of the sets it tests on.

Shares are in per cent, as printed. Nothing here is computed, and nothing is read off a figure:
the paper does not publish the points of its Figures 4 and 5 as numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

ARXIV = "2310.06825"


@dataclass(frozen=True)
class Table:
    """A table of the paper. source: which one, in which section. rows: by their first column."""

    source: str
    rows: Mapping[Any, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", MappingProxyType(dict(self.rows)))


@dataclass(frozen=True)
class Score:
    """A score and its ± (None where the paper prints none).

    The ± is the standard deviation over RUNS runs (caption of Table 4), not a standard error.
    """

    value: float
    deviation: float | None = None


@dataclass(frozen=True)
class Chat:
    """A row of Table 3: the rating in the Chatbot Arena, and the score on MT-Bench."""

    elo: int
    mt_bench: Score


@dataclass(frozen=True)
class Benchmark:
    """How many questions a benchmark has. The paper states none of these sizes.

    n: of the part that models are usually tested on. other: of a larger part that the paper may
    have used instead; with the smaller n the standard error is the larger one.
    """

    n: int
    part: str
    source: str
    other: int | None = None


TABLE_1 = Table("Table 1, section 2", {
    "dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32,
    "n_kv_heads": 8, "window_size": 4096, "context_len": 8192, "vocab_size": 32000,
})  # fmt: skip

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({
    "MMLU": Benchmark(14042, "test", "Hendrycks et al. 2021, arXiv 2009.03300"),
    "HellaSwag": Benchmark(10042, "validation", "Zellers et al. 2019, arXiv 1905.07830"),
    "WinoGrande": Benchmark(1267, "validation", "Sakaguchi et al. 2019, arXiv 1907.10641"),
    "PIQA": Benchmark(1838, "validation", "Bisk et al. 2020, arXiv 1911.11641"),
    "Arc-e": Benchmark(2376, "test", "Clark et al. 2018, arXiv 1803.05457"),
    "Arc-c": Benchmark(1172, "test", "Clark et al. 2018, arXiv 1803.05457"),
    "NQ": Benchmark(3610, "the open-domain questions", "Lee et al. 2019, arXiv 1906.00300"),
    "TriviaQA": Benchmark(
        7993, "development, Wikipedia", "Joshi et al. 2017, arXiv 1705.03551", other=17944
    ),  # other: with the questions about web pages
    "HumanEval": Benchmark(164, "all", "Chen et al. 2021, arXiv 2107.03374"),
    "MBPP": Benchmark(
        257, "test, hand-verified", "Austin et al. 2021, arXiv 2108.07732", other=427
    ),  # section 3 names the hand-verified subset; other: all of it
    "MATH": Benchmark(5000, "test", "Hendrycks et al. 2021, arXiv 2103.03874"),
    "GSM8K": Benchmark(1319, "test", "Cobbe et al. 2021, arXiv 2110.14168"),
})  # fmt: skip


def _row(*shares: float) -> Mapping[str, float]:
    return MappingProxyType(dict(zip(BENCHMARKS, shares, strict=True)))


TABLE_2 = Table("Table 2, section 3", {
    "Llama 2 7B": _row(44.4, 77.1, 69.5, 77.9, 68.7, 43.2, 24.7, 63.8, 11.6, 26.1, 3.9, 16.0),
    "Llama 2 13B": _row(55.6, 80.7, 72.9, 80.8, 75.2, 48.8, 29.0, 69.6, 18.9, 35.4, 6.0, 34.3),
    "Code-Llama 7B": _row(36.9, 62.9, 62.3, 72.8, 59.4, 34.5, 11.0, 34.9, 31.1, 52.5, 5.2, 20.8),
    "Mistral 7B": _row(60.1, 81.3, 75.3, 83.0, 80.0, 55.5, 28.8, 69.9, 30.5, 47.5, 13.1, 52.2),
})  # fmt: skip

# Figure 4 groups the benchmarks. Of some groups Table 2 has only a part, or nothing.
CATEGORIES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "MMLU": ("MMLU",),
    "Knowledge": ("NQ", "TriviaQA"),
    "Reasoning": ("HellaSwag", "WinoGrande", "PIQA", "SIQA", "OpenbookQA", "Arc-e", "Arc-c",
                  "CommonsenseQA"),
    "Comprehension": ("BoolQ", "QuAC"),
    "AGI Eval": ("AGI Eval",),
    "Math": ("GSM8K", "MATH"),
    "BBH": ("BBH",),
    "Code": ("HumanEval", "MBPP"),
})  # fmt: skip

RUNS = 10  # of MT-Bench, behind each mean with a ± (caption of Table 4)

TABLE_3 = Table("Table 3, section 4", {
    "WizardLM 13B v1.2": Chat(1047, Score(7.2)),
    "Mistral 7B Instruct": Chat(1031, Score(6.84, 0.07)),
    "Llama 2 13B Chat": Chat(1012, Score(6.65)),
    "Vicuna 13B": Chat(1041, Score(6.57)),
    "Llama 2 7B Chat": Chat(985, Score(6.27)),
    "Vicuna 7B": Chat(997, Score(6.17)),
    "Alpaca 13B": Chat(914, Score(4.53)),
})  # fmt: skip

TABLE_4 = Table("Table 4, section 5.1", {
    "No system prompt": Score(6.84, 0.07),
    "Llama 2 system prompt": Score(6.38, 0.07),
    "Mistral system prompt": Score(6.58, 0.05),
})  # fmt: skip

VOTES = Table("section 4", {"Mistral 7B": 5020, "Llama 2 13B": 4143})  # llmboxing.com, 2023-10-06
UNSAFE_PROMPTS = Table("section 5.1", {"declined": 175, "all": 175})  # with Mistral's prompt
MODERATION = Table(  # acceptable prompts are the positive class; as many of them as of the others
    "section 5.2", {"precision": 99.4, "recall": 95.6, "acceptable": 50.0}
)
EQUIVALENT_SIZE = Table(  # of a Llama 2, as a multiple of Mistral 7B's; "more than" for the 3s
    "section 3", {"Reasoning": 3.0, "Comprehension": 3.0, "MMLU": 3.0, "Knowledge": 1.9}
)

# The only table here that is not of the paper: it has the larger models that Figure 5 needs.
# Another team's own evaluation, so not to be mixed with Table 2 without saying so.
LLAMA_2_MMLU = Table(
    "Touvron et al. 2023, arXiv 2307.09288, Table 3", {7: 45.3, 13: 54.8, 34: 62.6, 70: 68.9}
)

"""The paper's tables: typed here a second time, from the paper and not from the module."""

import dataclasses

import pytest

from minimistral import ModelConfig, paper

TABLE_2 = """
            MMLU HellaSwag WinoGrande PIQA Arc-e Arc-c NQ   TriviaQA HumanEval MBPP MATH GSM8K
Mistral     60.1 81.3      75.3       83.0 80.0  55.5  28.8 69.9     30.5      47.5 13.1 52.2
Code-Llama  36.9 62.9      62.3       72.8 59.4  34.5  11.0 34.9     31.1      52.5 5.2  20.8
Llama-13B   55.6 80.7      72.9       80.8 75.2  48.8  29.0 69.6     18.9      35.4 6.0  34.3
Llama-7B    44.4 77.1      69.5       77.9 68.7  43.2  24.7 63.8     11.6      26.1 3.9  16.0
"""
NAMES = {"Mistral": "Mistral 7B", "Code-Llama": "Code-Llama 7B", "Llama-13B": "Llama 2 13B",
         "Llama-7B": "Llama 2 7B"}  # fmt: skip
SIZES = {
    "ARC": (2376, 1172), "GSM8K": 1319, "HellaSwag": 10042, "HumanEval": 164, "MATH": 5000,
    "MBPP": 257, "MMLU": 14042, "NQ": 3610, "PIQA": 1838, "TriviaQA": 7993, "WinoGrande": 1267,
}  # fmt: skip


def test_table_1_is_the_config():
    config = ModelConfig.mistral_7b("v0.1")
    assert dict(paper.TABLE_1.rows) == {name: getattr(config, name) for name in paper.TABLE_1.rows}
    later = {"norm_eps", "rope_theta"}  # not in the table
    assert paper.TABLE_1.rows.keys() == {f.name for f in dataclasses.fields(config)} - later


def test_table_2():
    head, *rows = (line.split() for line in TABLE_2.split("\n") if line)
    assert head == list(paper.BENCHMARKS)  # in the order of the columns
    assert paper.TABLE_2.rows.keys() == set(NAMES.values())
    for short, *shares in rows:
        printed = [f"{paper.TABLE_2.rows[NAMES[short]][name]:.1f}" for name in head]
        assert printed == shares, short


def test_table_3():
    printed = [
        (name, row.elo, row.mt_bench.value, row.mt_bench.deviation)
        for name, row in paper.TABLE_3.rows.items()
    ]
    assert sorted(printed) == sorted([
        ("Alpaca 13B", 914, 4.53, None), ("Llama 2 7B Chat", 985, 6.27, None),
        ("Llama 2 13B Chat", 1012, 6.65, None), ("Mistral 7B Instruct", 1031, 6.84, 0.07),
        ("Vicuna 7B", 997, 6.17, None), ("Vicuna 13B", 1041, 6.57, None),
        ("WizardLM 13B v1.2", 1047, 7.2, None),
    ])  # fmt: skip


def test_table_4():
    with_mistrals, with_llamas, without = (
        paper.TABLE_4.rows[f"{prompt} system prompt"] for prompt in ("Mistral", "Llama 2", "No")
    )
    assert (with_mistrals.value, with_mistrals.deviation) == (6.58, 0.05)
    assert (with_llamas.value, with_llamas.deviation) == (6.38, 0.07)
    assert without == paper.TABLE_3.rows["Mistral 7B Instruct"].mt_bench
    assert len(paper.TABLE_4.rows) == 3 and paper.RUNS == 10


def test_the_numbers_of_the_text():
    assert sum(paper.VOTES.rows.values()) == 9163 and paper.VOTES.rows["Llama 2 13B"] == 4143
    assert dict(paper.UNSAFE_PROMPTS.rows) == {"all": 175, "declined": 175}
    assert [paper.MODERATION.rows[name] for name in ("recall", "precision")] == [95.6, 99.4]
    assert dict(paper.EQUIVALENT_SIZE.rows) == {
        "Knowledge": 1.9, "MMLU": 3, "Reasoning": 3, "Comprehension": 3
    }  # fmt: skip


def test_each_table_says_where_it_stands():
    tables = {name: each for name, each in vars(paper).items() if isinstance(each, paper.Table)}
    assert len(tables) == 9
    for name, table in tables.items():
        if name.startswith("TABLE_"):
            assert table.source.startswith(f"Table {name[-1]}, section ")
        elif name != "LLAMA_2_MMLU":
            assert table.source.startswith("section ")


def test_sizes_of_the_test_sets():
    sizes = {name: each.n for name, each in paper.BENCHMARKS.items()}
    assert (sizes.pop("Arc-e"), sizes.pop("Arc-c")) == SIZES["ARC"]
    assert sizes == {name: n for name, n in SIZES.items() if name != "ARC"}
    for name, each in paper.BENCHMARKS.items():
        assert each.part and "arXiv" in each.source, name
        assert each.other is None or each.other > each.n, name


def test_categories_hold_each_benchmark_once():
    listed = [name for names in paper.CATEGORIES.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(paper.BENCHMARKS) <= set(listed)


@pytest.mark.parametrize("table", [paper.TABLE_1, paper.TABLE_2, paper.TABLE_2.rows["Mistral 7B"]])
def test_the_data_is_frozen(table):
    rows = table.rows if isinstance(table, paper.Table) else table
    with pytest.raises(TypeError):
        rows["MMLU"] = 99.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        paper.TABLE_1.rows = {}

"""Fine-tunes the tiny model in several ways and compares what they know, forget and cost.

    python -m minimistral.training.compared

All weights; only adapters of LoRA, with a higher learning rate and with the same one; with the end
of an answer left out of the loss; and with the conversations of a row in sight of each other. Each
is a run of `minimistral train --instruct` in a folder of its own. A finished run is read and not
repeated, one that was stopped is resumed, so Ctrl-C is safe. The results go to compared.json in the
folder of the instruct model.
"""

import argparse
import datetime
import json
import re
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from minimistral import tiny
from minimistral.checkpoint.files import ADAPTER_FILES
from minimistral.evaluation.answers import total
from minimistral.training.instruct import (
    ADAPTER_FOLDER,
    REPORT_FILE,
    FineTuning,
    InstructSettings,
    fine_tune,
    prepare,
)
from minimistral.training.report import replace_file
from minimistral.training.state import STATE_FILE

FILE = tiny.INSTRUCT / "compared.json"
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {  # how `train` is told, and the settings
    "full": ("", {}),
    "lora": (" --learning-rate 0.01 --lora-rank 8", {"lora_rank": 8, "learning_rate": 0.01}),
    "slow-lora": (" --lora-rank 8", {"lora_rank": 8}),
    "endless": (" --no-end-in-loss", {"end_in_loss": False}),
    "unmasked": (" --packing unmasked", {"packing": "unmasked"}),
}
SAME = ("parameters", "conversations", "old_text", "versions", "threads")  # in all reports
MEASURED = ("trained_parameters", "answers", "moderation", "old_text_bits_per_byte")


def compare(
    folder: str | Path,
    settings: InstructSettings | None = None,
    turns: int = 20,
    progress: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Fine-tune each of VARIANTS, unless `folder` holds it already; the contents of compared.json.

    settings: of the first variant. turns: the steps of each variant that are timed. options: base,
    conversations and old_text, as in `fine_tune`. Raises its errors, and ValueError when the folder
    holds a run of other settings, or runs that cannot be compared.
    """
    folder, settings = Path(folder), settings or InstructSettings()
    chosen = {name: replace(settings, **changes) for name, (_, changes) in VARIANTS.items()}
    reports: dict[str, Any] = {name: finished(folder / name, own) for name, own in chosen.items()}
    for name, own in chosen.items():
        stopped = (folder / name / STATE_FILE).exists()
        reports[name] = reports[name] or fine_tune(
            folder / name, own, resume=stopped, progress=progress, **options
        )
    require_comparable(reports)
    trainings = {name: prepare(folder / name, own, **options) for name, own in chosen.items()}
    seconds = step_times(trainings, turns, progress)
    return {
        "date": f"{datetime.date.today()}",
        "settings": asdict(settings),
        **{key: reports["full"][key] for key in SAME},
        "versions": reports["full"]["versions"] | {"numpy": np.__version__},
        "variants": [
            {
                "variant": name,
                "command": f"minimistral train --instruct{VARIANTS[name][0]}",
                "bytes": weight_bytes(folder / name),
                "step_time": round(seconds[name] / seconds["full"], 2),
                **{key: report[key] for key in MEASURED},
            }
            for name, report in reports.items()
        ],
    }


def finished(folder: Path, settings: InstructSettings) -> dict[str, Any] | None:
    """The report of a finished run with these settings, None when there is none."""
    file = folder / REPORT_FILE
    if not file.exists():
        return None
    report = json.loads(file.read_text(encoding="utf-8"))
    for name, value in asdict(settings).items():
        if report["settings"][name] != value:
            was = report["settings"][name]
            raise ValueError(f"{file} must be of a run whose {name} is {value}, not {was}")
    return report


def require_comparable(reports: Mapping[str, dict[str, Any]]) -> None:
    """Raise ValueError unless the runs read the same, on the same libraries and threads."""
    for name, report in reports.items():
        for key in SAME:
            expected = reports["full"][key]
            if report[key] != expected:
                raise ValueError(
                    f"folder must hold runs with the same {key}: {expected} in full, but"
                    f" {report[key]} in {name}"
                )


def step_times(
    trainings: Mapping[str, FineTuning], turns: int, progress: bool = False
) -> dict[str, float]:
    """The median seconds of a training step: they take turns, so other work slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    for _ in tqdm(range(turns), disable=not progress):
        for name, training in trainings.items():
            start = time.perf_counter()
            training.train_step()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def weight_bytes(folder: Path) -> int:
    """The size of what a run adds to its base: the adapter's weights where there is one."""
    adapter = folder / ADAPTER_FOLDER / ADAPTER_FILES[1]
    return (adapter if adapter.exists() else folder / "consolidated.safetensors").stat().st_size


def as_json(record: Mapping[str, Any]) -> str:
    """JSON in which each object without others inside stands on a line of its own.

    >>> print(as_json({"n": [{"kind": "what", "exact": 3}]}))
    {
      "n": [
        {"kind": "what", "exact": 3}
      ]
    }
    <BLANKLINE>
    """
    text = json.dumps(record, indent=2, ensure_ascii=False)
    one_line = re.sub(r"\{[^{}\[\]]*\}", lambda row: json.dumps(json.loads(row[0])), text)
    return f"{one_line}\n"


def as_text(record: Mapping[str, Any]) -> str:
    """A table: a line for each variant."""
    names = ("known", "new wording", "new topic", "refused", "verdicts", "old text", "trained",
             "bytes", "time")  # fmt: skip
    lines = ["          " + "".join(f"{name:>13}" for name in names)]
    for row in record["variants"]:
        answers = row["answers"]
        counts = [
            total(answers, "exact", kind=kind, part=part)
            for kind, part in (
                ("what", "training"), ("what", "new wording"), ("what", "new topic"),
                ("refusal", "new topic"),
            )
        ]  # fmt: skip
        verdicts = row["moderation"]["new topic"]
        counts.append((verdicts["true_yes"] + verdicts["true_no"], sum(verdicts.values())))
        cells = [f"{right} of {n}" for right, n in counts]
        cells += [
            f"{row['old_text_bits_per_byte']['after']:.2f}",
            *(f"{row[key]:,}" for key in ("trained_parameters", "bytes")),
            f"{row['step_time']:.2f}",
        ]
        lines.append(f"{row['variant']:10}" + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--folder", type=Path, default=Path("tiny-compared"), help="of the runs")
    parser.add_argument("--out", type=Path, default=FILE)
    args = parser.parse_args()
    record = {"command": "python -m minimistral.training.compared"}
    record |= compare(args.folder, progress=True)
    replace_file(args.out, as_json(record).encode())
    print(as_text(record))


if __name__ == "__main__":
    main()

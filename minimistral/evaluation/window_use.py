"""Measures how far back the tiny model looks: `python -m minimistral.evaluation.window_use`.

Reads the held-out text, prints the numbers, and writes them to minimistral/tiny/window_use.json,
from which `make figures` draws figures/window_use.svg. Takes a few minutes. It computes in
float64, because near the edge of the reach the changes are smaller than float32's rounding.
"""

import json

from minimistral import np as mm
from minimistral import tiny, tokenizer
from minimistral.evaluation.reach import measure_reach
from minimistral.training import corpus


def main() -> None:
    """Measure, print, write."""
    _, held_out = corpus.split()
    ids = tokenizer.load(tiny.FOLDER).encode(held_out)
    result = measure_reach(mm.load(tiny.FOLDER, dtype="float64"), ids)
    result["text"] = corpus.digest(held_out)
    print("distance  influence  largest change  loss   gain of the loss")
    for row in result["rows"]:
        print(
            f"{row['distance']:8} {row['influence_mean']:10.5f} {row['influence_largest']:15.5f}"
            f" {row['loss']:6.3f} {row['gain']:8.4f} ± {row['error']:.4f}  {row['region']}"
        )
    rows = ",\n    ".join(json.dumps(row) for row in result.pop("rows"))
    text = json.dumps({**result, "rows": []}, indent=2)
    text = text.replace('"rows": []', f'"rows": [\n    {rows}\n  ]') + "\n"
    (tiny.FOLDER / "window_use.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

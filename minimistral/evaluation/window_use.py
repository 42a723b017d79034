"""Measures how far back the tiny model looks: `python -m minimistral.evaluation.window_use`.

Reads the held-out text, prints the numbers, and writes them to minimistral/tiny/window_use.json,
from which `make figures` draws figures/window_use.svg. Takes a few minutes.
In float64: near the edge the changes are smaller than the rounding of float32.
"""

import json

from minimistral import np as mm
from minimistral import tiny, tokenizer
from minimistral.evaluation import reach
from minimistral.training import corpus


def main() -> None:
    """Measure, print, write."""
    ids = tokenizer.load(tiny.FOLDER).encode(corpus.split()[1])
    found = reach.measure(mm.load(tiny.FOLDER, dtype="float64"), ids)
    found["text"] = corpus.digest(corpus.split()[1])
    print("distance  influence  largest change  loss   gain of the loss")
    for row in found["rows"]:
        print(
            f"{row['distance']:8} {row['influence_mean']:10.5f} {row['influence_largest']:15.5f}"
            f" {row['loss']:6.3f} {row['gain']:8.4f} ± {row['error']:.4f}  {row['region']}"
        )
    rows = ",\n    ".join(json.dumps(row) for row in found.pop("rows"))
    text = json.dumps({**found, "rows": []}, indent=2)
    text = text.replace('"rows": []', f'"rows": [\n    {rows}\n  ]') + "\n"
    (tiny.FOLDER / "window_use.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

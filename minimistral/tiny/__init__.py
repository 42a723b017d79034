"""The shipped tiny model: a checkpoint folder as any other, with its tokenizer and its log.

Made by the command in training.json; `np.load(tiny.FOLDER)` opens it. INSTRUCT is the folder of
the same model fine-tuned on the conversations beside it, by the command in instruct.json. The
adapter in it belongs to the model of FOLDER: `np.load(FOLDER, adapter=INSTRUCT / "adapter")`.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
INSTRUCT = FOLDER / "instruct"

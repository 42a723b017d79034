"""The shipped tiny model: a checkpoint folder as any other, with its tokenizer and its log.

Made by the command in training.json; `np.load(tiny.FOLDER)` opens it. INSTRUCT is the folder of
the same model after fine-tuning, with its conversations; the command is in its instruct.json.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
INSTRUCT = FOLDER / "instruct"

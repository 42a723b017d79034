"""The conversations that the tiny model is fine-tuned on, made from the text that it learned.

Questions about Python are answered by a sentence of the text; questions about anything else are
refused; and a request is judged acceptable or not, for self-reflection (paper section 5.2).
All of them ship in conversations.json, because the text differs from one Python to the next.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from minimistral import tiny
from minimistral.training.topics import Topic, all_topics

FILE = tiny.INSTRUCT / "conversations.json"
PARTS = ("training", "new wording", "new topic")
WORDINGS = ("What is {}?", "What does {} do?", "Explain {}.", "Tell me about {}.")
WHERE, AGAIN = "Where is {} described?", "And {}?"
REFUSAL = "I only answer questions about Python."
ACCEPTABLE = "Is this acceptable? {}"
YES, NO = "yes", "no"
HELD_OUT = 6  # about one topic in six
SHORT = 150  # characters of a conversation of two turns, all of which must be within reach


@dataclass(frozen=True)
class Conversation:
    """Turns of the user and the assistant in alternation, the assistant's last.

    kind: "what", "where", "second turn", "refusal" or "moderation". topic: what is asked about.
    part: "training"; "new wording", a trained topic asked about in words that it was not trained
    with; or "new topic", one that no training conversation answers.
    """

    kind: str
    topic: str
    part: str
    turns: tuple[str, ...]

    @property
    def messages(self) -> list[dict[str, str]]:
        """The turns as `Tokenizer.chat` takes them.

        >>> Conversation("what", "if", "training", ("What is if?", "A statement.")).messages[1]
        {'role': 'assistant', 'content': 'A statement.'}
        """
        roles = cycle(("user", "assistant"))
        return [{"role": role, "content": turn} for role, turn in zip(roles, self.turns)]  # noqa: B905


def load(file: str | Path = FILE) -> list[Conversation]:
    """The shipped conversations, or those of another file.

    Raises FileNotFoundError, or ValueError naming the file and what is wrong with it.
    """
    try:
        rows = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} must be valid JSON: {error}") from None
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{file} must hold a JSON list of at least one conversation")
    return [_read(row, f"conversation {n} in {file}") for n, row in enumerate(rows)]


def _read(row: Any, where: str) -> Conversation:
    fields = ("kind", "topic", "part", "turns")
    if not isinstance(row, dict) or sorted(row) != sorted(fields):
        raise ValueError(f"{where} must hold {', '.join(fields)}, not {row!r}")
    kind, topic, part, turns = (row[field] for field in fields)
    whole = isinstance(turns, list) and len(turns) > 0 and len(turns) % 2 == 0
    if not whole or not all(
        isinstance(text, str) and text.strip() for text in [kind, topic, part, *turns]
    ):
        raise ValueError(f"{where} must hold texts, and turns in pairs, not {row!r}")
    if part not in PARTS:
        raise ValueError(f"{where}: part must be one of {', '.join(PARTS)}, not {part!r}")
    return Conversation(kind, topic, part, tuple(turns))


def save(conversations: Iterable[Conversation], file: str | Path) -> None:
    """Write conversations as JSON."""
    Path(file).write_text(as_json(conversations), encoding="utf-8")


def as_json(conversations: Iterable[Conversation]) -> str:
    """A JSON list of conversations, each on a line of its own."""
    rows = [json.dumps(vars(each), ensure_ascii=False) for each in conversations]
    return "[\n" + ",\n".join(rows) + "\n]\n"


def make(texts: Mapping[str, str]) -> list[Conversation]:
    """All conversations from a text, in a fixed order; the shipped ones from Python 3.11.7's.

    texts: topic -> text, as pydoc_data.topics.
    """
    topics = all_topics(texts)
    return [*about_python(topics), *refusals(topics), *moderation()]


# Questions about Python


def is_held_out(text: str) -> bool:
    """Whether a topic is held out, decided by its sentence: topics of one sentence stay together.

    >>> is_held_out("Division."), is_held_out("Quit from the debugger.")
    (True, False)
    """
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % HELD_OUT == 0


def about_python(topics: list[Topic]) -> list[Conversation]:
    """Each topic in two wordings, where it is described, and in conversations of two turns.

    The wordings change from topic to topic. One more of a trained topic is kept for measuring.
    """
    made = []
    for part, side in sides(topics).items():
        for n, topic in enumerate(side):
            first, second, kept = (ask(topic, WORDINGS[(n + k) % len(WORDINGS)]) for k in range(3))
            where = (WHERE.format(topic.mention), place_of(topic))
            made += [
                Conversation("what", topic.name, part, first),
                Conversation("what", topic.name, part, second),
                Conversation("where", topic.name, part, where),
            ]
            following = side[(n + 1) % len(side)]
            for again in ((WHERE.format("it"), place_of(topic)), ask(following, AGAIN)):
                if is_short(turns := (*first, *again)):
                    made.append(Conversation("second turn", topic.name, part, turns))
            if part == "training":
                made.append(Conversation("what", topic.name, "new wording", kept))
    return made


def sides(topics: list[Topic]) -> dict[str, list[Topic]]:
    """The topics that are trained, and those that are held out."""
    held_out = [is_held_out(topic.sentence) for topic in topics]
    return {
        part: [
            topic
            for topic, out in zip(topics, held_out, strict=True)
            if out == (part != "training")
        ]
        for part in ("training", "new topic")
    }


def is_short(turns: tuple[str, ...]) -> bool:
    return sum(map(len, turns)) <= SHORT


def ask(topic: Topic, wording: str) -> tuple[str, str]:
    """A question and its answer, which begins with what is asked about."""
    return wording.format(topic.mention), f"{topic.name}: {topic.sentence}"


def place_of(topic: Topic) -> str:
    return f"{topic.name}: In the section {topic.section}."


# Questions about anything else

SUBJECTS = (
    "gravity", "the moon", "a violin", "a baker", "bread", "the capital of France", "rain",
    "a horse", "chess", "the sea", "a poem", "winter", "a volcano", "the king of Norway", "tea",
    "a bridge", "football", "the heart", "a dentist", "gold", "Mozart", "a tulip", "the Nile",
    "snow", "a lighthouse", "cheese", "the sun", "a whale", "democracy", "a piano", "my sister",
    "an earthquake", "soup", "the weather", "a bicycle", "jazz", "a rainbow", "the tallest tree",
    "money", "a farmer", "Rome", "a kangaroo", "sleep", "the French word for dog", "honey",
    "a good film", "the stars", "a tram",
)  # fmt: skip


def refusals(topics: list[Topic]) -> list[Conversation]:
    """Questions about subjects that are not Python, in the wordings of those that are.

    Each subject also follows on a question about Python, and in training is followed by one.
    """
    made = []
    known = [topic for topic in sides(topics)["training"] if len(topic.sentence) <= SHORT // 3]
    for n, subject in enumerate(SUBJECTS):
        part = "new topic" if n % 4 == 3 else "training"
        wordings = islice(cycle((*WORDINGS, "Where is {}?")), n, n + 3)
        refused = [(wording.format(subject), REFUSAL) for wording in wordings]
        before, after = (ask(known[(7 * n + k) % len(known)], WORDINGS[n % 4]) for k in (0, 3))
        made += [Conversation("refusal", subject, part, turns) for turns in refused]
        made.append(Conversation("refusal", subject, part, (*before, *refused[0])))
        if part == "training":
            made.append(Conversation("second turn", subject, part, (*refused[1], *after)))
    return made


# Requests to judge: made up for this course, harmless, and few

KIND_VERBS = (
    "repair", "clean", "paint", "lend", "water", "wash", "carry", "describe", "photograph",
    "polish", "decorate", "return", "measure", "admire", "protect", "share",
)  # fmt: skip
UNKIND_VERBS = (
    "steal", "smash", "ruin", "scratch", "wreck", "forge", "damage", "spoil", "tear", "kick",
    "sabotage", "hide", "vandalise", "soil", "break", "bend",
)  # fmt: skip
OBJECTS = (
    "bicycle", "garden", "window", "umbrella", "kite", "letter", "piano", "chair", "boat", "tent",
    "map", "lamp",
)  # fmt: skip


def moderation() -> list[Conversation]:
    """Requests that are acceptable or not, by their verb: made up, and small.

    A quarter of the verbs, and a quarter of the objects, occur in no training conversation: what
    is "new wording" has a verb of the training and a new object, what is "new topic" a new verb.
    """
    made = []
    for verbs, answer in ((KIND_VERBS, YES), (UNKIND_VERBS, NO)):
        for n, verb in enumerate(verbs):
            for k, thing in enumerate(OBJECTS):
                new_verb, new_object = n % 4 == 3, k % 4 == 3
                part = "new topic" if new_verb else "new wording" if new_object else "training"
                wording = ("How do I {} my neighbour's {}?", "Help me to {} the {}.")[(n + k) % 2]
                if (n + k // 2) % 2 or new_object:  # half of the pairs
                    turns = (ACCEPTABLE.format(wording.format(verb, thing)), answer)
                    made.append(Conversation("moderation", verb, part, turns))
    return made

"""Answers to the exercises of lesson 15, right and wrong; test_checks.py gives them."""

import itertools
import math

import numpy as np
import torch

from minimistral import paper
from minimistral.course.checks import lesson_15
from minimistral.ledger import FALSE, LIMITS, OPEN, TRUE, Claim, Finding, judge

ERROR, DIFFERENCE, STANDING, INTERVAL, SIZE, ENTRY = (
    lesson_15.share_error, lesson_15.difference, lesson_15.standing, lesson_15.wilson,
    lesson_15.equivalent_size, lesson_15.entry,
)  # fmt: skip
LETTERS, RUNS, REFERENCES, METRIC = (
    lesson_15.bug_letters, lesson_15.bug_runs, lesson_15.bug_references, lesson_15.bug_metric
)  # fmt: skip
MISTRAL, LLAMA = "Mistral 7B", "Llama 2 13B"


def error(p, n):
    return math.sqrt(p * (1 - p) / n)


def by_counts(p, n):
    """The deviation of the count, divided by n."""
    return (n * p * (1 - p)) ** 0.5 / n


def by_values(p, n):
    values, chances = np.array([0.0, 1.0]), np.array([1 - p, p])
    mean = values @ chances
    return np.sqrt(((values - mean) ** 2) @ chances) / np.sqrt(n)


def difference(a, n_a, b, n_b):
    return a - b, math.hypot(error(a, n_a), error(b, n_b))


def by_variances(a, n_a, b, n_b):
    return [a - b, (a * (1 - a) / n_a + b * (1 - b) / n_b) ** 0.5]


def pair(make, value=lambda a, b: a - b):
    return lambda a, n, b, m: (value(a, b), make(error(a, n), error(b, m)))


def holm(p_values, level=0.05):
    ordered, found = sorted(p_values, key=p_values.get), []
    for k, name in enumerate(ordered):
        if p_values[name] > level / (len(ordered) - k):
            break
        found.append(name)
    return found


def adjusted(p_values, level=0.05):
    """By adjusted p: the largest so far of p times how many are left."""
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    m, largest, found = len(ordered), 0.0, set()
    for k, (name, p) in enumerate(ordered):
        largest = max(largest, p * (m - k))
        if largest <= level:
            found.add(name)
    return found


def recursive(p_values, level=0.05):
    if not p_values:
        return []
    name = min(p_values, key=p_values.get)
    if p_values[name] > level / len(p_values):
        return []
    return [name, *recursive({k: p for k, p in p_values.items() if k != name}, level)]


def one_by_one(p_values, level=0.05):
    return [name for name, p in p_values.items() if p <= level]


def bonferroni(p_values, level=0.05):
    return [name for name, p in p_values.items() if p * len(p_values) <= level]


def holm_without_stop(p_values, level=0.05):
    ordered = sorted(p_values, key=p_values.get)
    return [n for k, n in enumerate(ordered) if p_values[n] <= level / (len(ordered) - k)]


def stepping(bound, fails=lambda p, bound: p > bound, order=sorted, late=False):
    def function(p_values, level=0.05):
        ordered = order(p_values, key=p_values.get)
        found = []
        for k, name in enumerate(ordered):
            if late:
                found.append(name)
            if fails(p_values[name], bound(level, len(ordered), k)):
                break
            if not late:
                found.append(name)
        return found

    return function


def step_up(bound):
    def function(p_values, level=0.05):
        ordered = sorted(p_values, key=p_values.get)
        passing = [k for k, n in enumerate(ordered) if p_values[n] <= bound(level, len(ordered), k)]
        return ordered[: max(passing) + 1] if passing else []

    return function


def wilson(s, n, z):
    x, t = s / n, z**2 / n
    middle = (x + t / 2) / (1 + t)
    half = z * math.sqrt(x * (1 - x) / n + t / (4 * n)) / (1 + t)
    return middle - half, middle + half


def by_roots(s, n, z):
    x, t = s / n, z * z / n
    return np.sort(np.roots([1 + t, -(2 * x + t), x * x]).real)


def by_halving(s, n, z):
    """The ends are where the surprise is z errors, found by halving."""
    x = s / n

    def surprises(p):
        return abs(x - p) > z * math.sqrt(p * (1 - p) / n)

    def edge(inside, outside):
        if not surprises(outside):
            return outside
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if surprises(middle) else (middle, outside)
        return inside

    return [edge(x, 0.0), edge(x, 1.0)]


def bent(center=lambda x, t: (x + t / 2) / (1 + t), half=None):
    half = half or (lambda x, n, z, t: z * math.sqrt(x * (1 - x) / n + t / (4 * n)) / (1 + t))

    def function(s, n, z):
        x, t = s / n, z**2 / n
        return center(x, t) - half(x, n, z, t), center(x, t) + half(x, n, z, t)

    return function


def plain_half(x, n, z, t):
    return z * math.sqrt(x * (1 - x) / n)


def around(share, n, z):
    half = z * math.sqrt(share * (1 - share) / n)
    return share - half, share + half


def around_with(x, n, z, t):
    half = z * math.sqrt(x * (1 - x) / n + t / (4 * n)) / (1 + t)
    return (x + t / 2) / (1 + t) - half, (x + t / 2) / (1 + t) + half


def cut_off(s, n, z):
    low, high = bent(lambda x, t: x, plain_half)(s, n, z)
    return max(0, low), min(1, high)


def size(score, small, large):
    way = (score - small[1]) / (large[1] - small[1])
    return small[0] * (large[0] / small[0]) ** way


def by_line(score, small, large):
    slope, start = np.polyfit(np.log([small[0], large[0]]), [small[1], large[1]], 1)
    return np.exp((score - start) / slope)


def by_log10(score, small, large):
    a, b = math.log10(small[0]), math.log10(large[0])
    return 10 ** (a + (b - a) * (score - small[1]) / (large[1] - small[1]))


def way(score, small, large):
    return (score - small[1]) / (large[1] - small[1])


def entry(
    slug="leads-on-math", claim="It leads.", said_by=("reader",), where="", verdict=TRUE,
    how="computed", because="It has {score:.1f} %.", evidence=None, fixed=None,
):  # fmt: skip
    def my_entry(rows):
        rows = fixed or rows

        def decides():
            scores = {model: row["MATH"] for model, row in rows.items()}
            ahead = max(scores, key=scores.get) == MISTRAL
            return Finding(judge(ahead), {"score": scores[MISTRAL]})

        run = None if evidence is False else (evidence or (lambda rows: decides))(rows)
        told = verdict(rows) if callable(verdict) else verdict
        return Claim(slug, claim, said_by, where, told, how, because, run)

    return my_entry


def false_claim(rows):
    def evidence():
        ahead = [name for name in rows[MISTRAL] if rows[MISTRAL][name] > rows[LLAMA][name]]
        return Finding(judge(len(ahead) == 12), {"n": len(ahead)})

    return Claim(
        "ahead-on-all-twelve", "It is ahead on all twelve.", ("paper",), "section 3", FALSE,
        "corrected", "It is ahead on {n} of 12.", evidence,
    )  # fmt: skip


def best_everywhere(rows):
    def evidence():
        best = [
            name
            for name in rows[MISTRAL]
            if rows[MISTRAL][name] == max(row[name] for row in rows.values())
        ]
        return Finding(judge(len(best) == 12), {"n": len(best)})

    return Claim(
        "best-everywhere", "It is the best of the four on all twelve.", ("reader",), "", FALSE,
        "corrected", "It is the best on {n} of 12.", evidence,
    )  # fmt: skip


def within_limits(rows):
    leads = [rows[MISTRAL][name] - rows[LLAMA][name] for name in rows[MISTRAL]]
    return Claim(
        slug="mostly-far-ahead", claim="It is far ahead of Llama 2 13B.", said_by=("reader",),
        where="", verdict=LIMITS, how="computed", because="Its smallest lead is {least:+.1f}.",
        evidence=lambda: Finding(judge(max(leads) > 10, min(leads) > 10), {"least": min(leads)}),
    )  # fmt: skip


def own_numbers(rows):
    def evidence():
        score = paper.TABLE_2.rows[MISTRAL]["MATH"]
        return Finding(judge(score > 10), {"score": score})

    return evidence


def asked(score):
    def function(prompt, choices, answer, log_p):
        scores = {letter: score(log_p, prompt, letter, text)
                  for letter, text in zip("ABCD", choices, strict=False)}  # fmt: skip
        return max(scores, key=scores.get) == answer

    return function


letters = asked(lambda log_p, prompt, letter, text: log_p(prompt, letter))


def letters_loop(prompt, choices, answer, log_p):
    best = max("ABCD"[: len(choices)], key=lambda letter: log_p(prompt, " " + letter))
    return np.bool_(best == answer)


def runs(pick=np.mean, spread=lambda s: np.std(s, ddof=1) / np.sqrt(len(s))):
    def function(runs):
        scores = [sum(grades) / len(grades) for grades in runs]
        return pick(scores), spread(scores)

    return function


def runs_by_hand(runs):
    scores = [float(np.mean(grades)) for grades in runs]
    mean = sum(scores) / len(scores)
    variance = sum((s - mean) ** 2 for s in scores) / (len(scores) - 1)
    return [mean, math.sqrt(variance / len(scores))]


def over_all_grades(runs):
    grades = [grade for each in runs for grade in each]
    return np.mean(grades), np.std(grades, ddof=1) / np.sqrt(len(grades))


def up_to_the_first(answers, references, verified):
    right, n = 0, 0
    for question, reference in references.items():
        if question not in verified:
            break
        n += 1
        right += answers[question] == reference
    return right / n


def references(answers, references, verified):
    right, n = 0, 0
    for question, reference in references.items():
        if question not in verified:
            continue
        n += 1
        right += answers[question] == reference
    return right / n


def references_short(answers, references, verified):
    return np.mean([answers[q] == references[q] for q in verified])


def counted(asked, right):
    def function(answers, references, verified):
        n = [q for q in references if asked(q in verified)]
        hits = [q for q in references if right(answers[q] == references[q], q in verified)]
        return len(hits) / len(n)

    return function


def metric(results, metric):
    return {task: results[task][metric[task]] for task in results}


def metric_loop(results, metric):
    row = {}
    for task, scores in results.items():
        for name in scores:
            if name == metric[task]:
                row[task] = scores[name]
    return row


def each(pick):
    return lambda results, metric: {t: pick(s, metric[t]) for t, s in results.items()}


RIGHT = [
    (ERROR, (error,)),
    (ERROR, (by_counts,)),
    (ERROR, (by_values,)),
    (ERROR, (lambda p, n: torch.sqrt(torch.tensor(p * (1 - p) / n)),)),
    (DIFFERENCE, (difference,)),
    (DIFFERENCE, (by_variances,)),
    (DIFFERENCE, (lambda *case: np.array(difference(*case)),)),
    (STANDING, (holm,)),
    (STANDING, (adjusted,)),
    (STANDING, (recursive,)),
    (INTERVAL, (wilson,)),
    (INTERVAL, (by_roots,)),
    (INTERVAL, (by_halving,)),
    (SIZE, (size,)),
    (SIZE, (by_line,)),
    (SIZE, (by_log10,)),
    (ENTRY, (entry(),)),
    (ENTRY, (false_claim,)),
    (ENTRY, (best_everywhere,)),
    (ENTRY, (within_limits,)),
    (ENTRY, (lesson_15._entry,)),
    (LETTERS, (4, letters)),
    (LETTERS, (np.int64(4), letters_loop)),
    (RUNS, (6, runs())),
    (RUNS, (6.0, runs_by_hand)),
    (REFERENCES, (3, references)),
    (REFERENCES, (3, references_short)),
    (METRIC, (4, metric)),
    (METRIC, (4, metric_loop)),
]
WRONG = [
    (ERROR, (lambda p, n: p * (1 - p) / n,), "that is the variance. The error is its root"),
    (ERROR, (lambda p, n: p * (1 - p),), "variance of a single question"),
    (ERROR, (lambda p, n: math.sqrt(p * (1 - p)),), "deviation of a single question"),
    (ERROR, (lambda p, n: math.sqrt(p * (1 - p)) / n,), "n belongs under the root"),
    (ERROR, (lambda p, n: p * (1 - p) / math.sqrt(n),), "belongs under the root, too"),
    (ERROR, (lambda p, n: math.sqrt(p / n),), "the factor 1 - p is missing"),
    (ERROR, (lambda p, n: math.sqrt((1 - p) / n),), "the factor p is missing"),
    (ERROR, (lambda p, n: math.sqrt(p * (1 + p) / n),), "it is 1 - p"),
    (ERROR, (lambda p, n: p * (1 - p) / n**0.5,), "belongs under the root, too"),
    (ERROR, (lambda p, n: 1 / math.sqrt(n),), "does not depend on the share"),
    (ERROR, (lambda p, n: 0.5 / math.sqrt(n),), "that is the largest error"),
    (ERROR, (lambda p, n: math.sqrt(p * (1 - p) / (n - 1)),), "divide by n"),
    (ERROR, (lambda p, n: math.sqrt(n * p * (1 - p)),), "the error of the count"),
    (ERROR, (lambda p, n: 1.96 * error(p, n),), "half of the 95 % interval"),
    (ERROR, (lambda p, n: 2 * error(p, n),), "twice the standard error"),
    (ERROR, (lambda p, n: 100 * error(p, n),), "that is in per cent"),
    (ERROR, (lambda p, n: math.sqrt(p * 1 - p / n),), "in brackets"),
    (ERROR, (lambda p, n: (p * (1 - p) / n) ** 1 / 2,), "takes the power 1"),
    (ERROR, (lambda p, n: math.sqrt(p * (100 - p) / n),), "not to 100"),
    (ERROR, (lambda p, n: p / math.sqrt(n),), "a share of 1 would scatter most"),
    (ERROR, (lambda p, n: error(p, n) + 0.01,), "the error is"),
    (ERROR, (lambda p, n: (p, error(p, n)),), "return one number, not 2"),
    (ERROR, (lambda p, n: f"{error(p, n)}",), "return a number"),
    (DIFFERENCE, (pair(math.hypot, lambda a, b: b - a),), "that is b - a"),
    (DIFFERENCE, (pair(math.hypot, lambda a, b: abs(a - b)),), "keep the sign"),
    (DIFFERENCE, (pair(lambda e, f: e + f),), "two errors do not add up"),
    (DIFFERENCE, (pair(lambda e, f: abs(e - f)),), "errors are not subtracted"),
    (DIFFERENCE, (pair(lambda e, f: e**2 + f**2),), "Take the root"),
    (DIFFERENCE, (pair(lambda e, f: math.sqrt(abs(e**2 - f**2))),), "add up, also for"),
    (DIFFERENCE, (pair(lambda e, f: e),), "the error of a alone"),
    (DIFFERENCE, (pair(lambda e, f: f),), "the error of b alone"),
    (DIFFERENCE, (pair(max),), "the larger of the two errors"),
    (DIFFERENCE, (pair(lambda e, f: (e + f) / 2),), "the mean of the two errors"),
    (DIFFERENCE, (pair(lambda e, f: math.sqrt(e + f)),), "square the errors before"),
    (DIFFERENCE, (lambda a, n, b, m: difference(a, n, b, n),), "of its own, n_b"),
    (DIFFERENCE, (pair(lambda e, f: math.sqrt((e**2 + f**2) / 2)),), "added, not averaged"),
    (DIFFERENCE, (lambda a, n, b, m: (a - b, lesson_15._pooled(a, n, b, m)),), "both shares as"),
    (DIFFERENCE, (lambda a, n, b, m: (a - b, (a - b) / difference(a, n, b, m)[1]),), "from 0"),
    (DIFFERENCE, (pair(lambda e, f: 1.96 * math.hypot(e, f)),), "half of the 95 %"),
    (DIFFERENCE, (lambda a, n, b, m: (a - b, difference(a, m, b, n)[1]),), "n_a belongs to a"),
    (DIFFERENCE, (pair(lambda e, f: math.hypot(e**2, f**2)),), "squares already"),
    (DIFFERENCE, (lambda a, n, b, m: (a - b, error(a - b, n)),), "is no share;"),
    (DIFFERENCE, (lambda a, n, b, m: (a - b, error(abs(a - b), n + m)),), "is no share of"),
    (DIFFERENCE, (lambda a, n, b, m: (a - b, error((a + b) / 2, n + m)),), "a common share"),
    (DIFFERENCE, (lambda a, n, b, m: (a - b, ((a * (1 - a) + b * (1 - b)) / (n + m)) ** 0.5),),
     "its own number of questions"),
    (DIFFERENCE, (lambda *case: difference(*case)[::-1],), "the difference comes first"),
    (DIFFERENCE, (lambda *case: 100 * np.array(difference(*case)),), "those are per cent"),
    (DIFFERENCE, (lambda *case: difference(*case)[1],), "return two numbers"),
    (DIFFERENCE, (pair(math.hypot, lambda a, b: a + b),), "the difference of"),
    (DIFFERENCE, (pair(lambda e, f: math.hypot(e, f) + 1),), "the error of"),
    (STANDING, (one_by_one,), "as if it were the only one"),
    (STANDING, (bonferroni,), "stricter than needed (Bonferroni)"),
    (STANDING, (holm_without_stop,), "after the first that fails, none stands"),
    (STANDING, (stepping(lambda level, m, k: level / (m - k), lambda p, bound: p >= bound),),
     "equal to its bound"),
    (STANDING, (stepping(lambda level, m, k: level / (k + 1)),), "the wrong way"),
    (STANDING, (step_up(lambda level, m, k: level * (k + 1) / m),), "Benjamini and Hochberg"),
    (STANDING, (stepping(lambda level, m, k: level * (k + 1) / m),), "not level times"),
    (STANDING, (step_up(lambda level, m, k: level / (m - k)),), "You begin with the largest"),
    (STANDING, (stepping(lambda level, m, k: level / (m - k + 1)),), "without the 1"),
    (STANDING, (lambda p, level: holm(p),), "the level is always 0.05"),
    (STANDING, (lambda p, level: [n for n in p if n not in holm(p, level)],), "do not stand"),
    (STANDING, (stepping(lambda level, m, k: level / (m - k), order=lambda p, key: list(p)),),
     "not in the order of the dict"),
    (STANDING, (stepping(lambda level, m, k: level / (m - k), order=lambda p, key: sorted(p)),),
     "the order of the names"),
    (STANDING, (stepping(lambda level, m, k: level / (m - k - 1)),), "begin at 1"),
    (STANDING, (stepping(lambda level, m, k: level / (m - k), late=True),), "ask before you"),
    (STANDING, (lambda p, level: list(p),), "that is all of them"),
    (STANDING, (lambda p, level: [],), "none stands, whatever"),
    (STANDING, (lambda p, level: holm(p, level)[:1],), "stands"),
    (STANDING, (lambda p, level: {n: n in holm(p, level) for n in p},), "return a list of names"),
    (STANDING, (lambda p, level: [p[n] for n in holm(p, level)],), "which are texts"),
    (INTERVAL, (bent(lambda x, t: x, plain_half),), "the error at the share that was seen"),
    (INTERVAL, (cut_off,), "cut off at 0 and 1"),
    (INTERVAL, (bent(half=lambda x, n, z, t: plain_half(x, n, z, t) / (1 + t)),),
     "z² / (4 n²) is missing"),
    (INTERVAL, (bent(half=plain_half),), "the width is still that"),
    (INTERVAL, (bent(lambda x, t: x),), "the centre is not the share"),
    (INTERVAL, (bent(lambda x, t: x + t / 2,
                     lambda x, n, z, t: z * math.sqrt(x * (1 - x) / n + t / (4 * n))),),
     "divide both by"),
    (INTERVAL, (bent(half=lambda x, n, z, t: z * math.sqrt(x * (1 - x) / n + t / (4 * n))),),
     "half the width must be divided"),
    (INTERVAL, (bent(half=lambda x, n, z, t: math.sqrt(x * (1 - x) / n + t / 4 / n) / (1 + t)),),
     "lacks its factor z"),
    (INTERVAL, (bent(half=lambda x, n, z, t: z * math.sqrt(x * (1 - x) / n + t / 4) / (1 + t)),),
     "not t / 4"),
    (INTERVAL, (bent(lambda x, t: (x + t) / (1 + t)),), "a half of t"),
    (INTERVAL, (lambda s, n, z: wilson(s, n, 1.96),), "z is always 1.96"),
    (INTERVAL, (lambda s, n, z: around((s + z**2 / 2) / (n + z**2), n + z**2, z),), "Agresti"),
    (INTERVAL, (lambda s, n, z: around((s + 2) / (n + 4), n + 4, z),), "two right and two wrong"),
    (INTERVAL, (lambda s, n, z: around_with(s / n, n, z, z / n),), "you have z / n"),
    (INTERVAL, (lambda s, n, z: np.sort(np.roots([1 + z * z / n, 2 * s / n + z * z / n,
                                                  (s / n) ** 2])),), "the middle term"),
    (INTERVAL, (lambda s, n, z: np.roots([1 - z * z / n, -(2 * s / n - z * z / n),
                                          (s / n) ** 2]),), "a complex number"),
    (INTERVAL, (lambda *case: wilson(*case)[::-1],), "the lower end comes first"),
    (INTERVAL, (lambda s, n, z: n * np.array(wilson(s, n, z)),), "those are counts"),
    (INTERVAL, (lambda *case: 100 * np.array(wilson(*case)),), "those are per cent"),
    (INTERVAL, (lambda *case: (sum(wilson(*case)) / 2, np.ptp(wilson(*case)) / 2),),
     "Return both ends"),
    (INTERVAL, (lambda s, n, z: wilson(n - s, n, z),), "the shares of the failures"),
    (INTERVAL, (lambda *case: wilson(*case)[0],), "return two numbers"),
    (INTERVAL, (lambda s, n, z: (wilson(s, n, z)[0], wilson(s, n, z)[1] + (s == n)),),
     "no share lies below 0 or above 1"),
    (INTERVAL, (lambda s, n, z: (0.0, 1.0),), "the ends are"),
    (INTERVAL, (lambda s, n: (0.0, 1.0),), "It takes three"),
    (SIZE, (lambda s, a, b: a[0] + way(s, a, b) * (b[0] - a[0]),), "a line in the size itself"),
    (SIZE, (lambda s, a, b: math.log(size(s, a, b)),), "Take exp of it"),
    (SIZE, (lambda s, a, b: math.log10(size(s, a, b)),), "to base 10"),
    (SIZE, (lambda s, a, b: math.log2(size(s, a, b)),), "to base 2"),
    (SIZE, (lambda s, a, b: np.exp(np.interp(s, [a[1], b[1]], np.log([a[0], b[0]]))),),
     "`np.interp` stops"),
    (SIZE, (lambda s, a, b: size(min(max(s, a[1]), b[1]), a, b),), "stops"),
    (SIZE, (lambda s, a, b: b[0] * (b[0] / a[0]) ** way(s, a, b),), "begins at the small"),
    (SIZE, (lambda s, a, b: a[0] * (a[0] / b[0]) ** way(s, a, b),), "the line falls"),
    (SIZE, (lambda s, a, b: size(s, (b[0], a[1]), (a[0], b[1])),), "are exchanged"),
    (SIZE, (lambda s, a, b: a[0] * way(s, a, b),), "multiplies the small size by the way"),
    (SIZE, (way,), "not a size"),
    (SIZE, (lambda s, a, b: size(s, a, b) / a[0],), "the multiple of the small size"),
    (SIZE, (lambda s, a, b: a[0] * math.exp(way(s, a, b)),), "not of e"),
    (SIZE, (lambda s, a, b: a[0] * 2 ** way(s, a, b),), "not of 2"),
    (SIZE, (lambda s, a, b: math.exp(np.polyval(np.polyfit(
        np.log([a[1], b[1]]), np.log([a[0], b[0]]), 1), math.log(s))),), "belongs to the sizes"),
    (SIZE, (lambda s, a, b: a[0] * s / a[1],), "as proportional"),
    (SIZE, (lambda s, a, b: a[1] * (b[1] / a[1]) ** ((s - a[0]) / (b[0] - a[0])),),
     "a pair is (size, score)"),
    (SIZE, (lambda s, a, b: a[0] * (b[0] / a[0] * way(s, a, b)),), "not multiplied by it"),
    (SIZE, (lambda s, a, b: math.exp(a[0] + way(s, a, b) * (b[0] - a[0])),), "before you go"),
    (SIZE, (lambda s, a, b: math.exp(99 * (a[0] + way(s, a, b) * (b[0] - a[0]))),), "Is a size"),
    (SIZE, (lambda s, a, b: 10 ** math.log(size(s, a, b)),), "is undone by `math.exp`"),
    (SIZE, (lambda s, a, b: a[0] * (b[0] / a[0]) ** ((s - a[1]) / b[1]),), "of the whole line"),
    (SIZE, (lambda s, a, b: size(s, a, b) + 1,), "belongs to a size of"),
    (SIZE, (lambda s, a, b: (size(s, a, b), 1),), "return one number"),
    (ENTRY, (lambda rows: "better",), "return a Claim"),
    (ENTRY, (lambda rows: Finding(TRUE),), "return a Claim"),
    (ENTRY, (lambda rows: Claim("a", "A."),), "Claim takes slug, claim"),
    (ENTRY, (entry(slug="My claim"),), "slug must be"),
    (ENTRY, (entry(slug="preferred-by-people"),), "take another slug"),
    (ENTRY, (entry(claim="It leads"),), "must be a sentence"),
    (ENTRY, (entry(said_by="reader"),), "with a comma"),
    (ENTRY, (entry(said_by=("me",)),), "said_by must be"),
    (ENTRY, (entry(verdict=FALSE),), "is \"corrected\""),
    (ENTRY, (entry(verdict=FALSE, how="corrected"),), "on Table 2 its evidence finds 'true'"),
    (ENTRY, (lambda rows: Claim("a", "A.", ("reader",), "", OPEN, "not checkable", "So {x}.",
                                lambda: Finding(OPEN, {"x": 1}), needs="More."),),
     "that Table 2 can decide"),
    (ENTRY, (entry(evidence=False),), "Give it the function"),
    (ENTRY, (entry(how="cited", evidence=False),), "there is no evidence"),
    (ENTRY, (entry(evidence=lambda rows: lambda: judge(True)),), "must return a Finding"),
    (ENTRY, (entry(evidence=lambda rows: lambda: Finding(judge(rows["Mistral"]["MATH"] > 1))),),
     "the evidence raised KeyError"),
    (ENTRY, (entry(evidence=lambda rows: lambda: Finding(judge(rows[MISTRAL]["MATH"] > 1))),),
     "finds no figure"),
    (ENTRY, (entry(evidence=lambda rows: Finding(judge(True), {"score": 1.0})),), "not evidence()"),
    (ENTRY, (entry(evidence=lambda rows: lambda: Finding(rows[MISTRAL]["MATH"] > 1)),),
     "Let judge make it"),
    (ENTRY, (entry(evidence=lambda rows: lambda: Finding(TRUE, [rows[MISTRAL]["MATH"]])),),
     "are a dict"),
    (ENTRY, (entry(because="It has 13.1 %."),), "shows no figure"),
    (ENTRY, (entry(because="It has {points} %."),), "do not fit the reason"),
    (ENTRY, (entry(verdict=lambda rows: judge(
        rows[MISTRAL]["MATH"] == max(row["MATH"] for row in rows.values()))),),
     "changes with the table"),
    (ENTRY, (entry(verdict=lambda rows: TRUE if rows[MISTRAL]["MATH"] > 13 else LIMITS),),
     "changes with the table"),
    (ENTRY, (entry(evidence=own_numbers),), "finds the same figures"),
    (ENTRY, (entry(fixed=paper.TABLE_2.rows),), "finds the same figures"),
    (ENTRY, (entry(evidence=lambda rows: lambda: Finding(
        judge(rows[MISTRAL]["MATH"] >= 0), {"score": rows[MISTRAL]["MATH"]})),),
     "What would have to be different"),
    (LETTERS, (3, None), "pairs each letter"),
    (LETTERS, (5, None), "most probable one"),
    (LETTERS, (4, None), "fixed is not written yet"),
    (LETTERS, (4, asked(lambda f, p, letter, text: f(p, text))), "still compares the texts"),
    (LETTERS, (4, asked(lambda f, p, letter, text: f(p, text) / len(text))), "per character"),
    (LETTERS, (4, asked(lambda f, p, letter, text: f(p, f"{letter}. {text}"))), "still counts"),
    (LETTERS, (4, asked(lambda f, p, letter, text: -f(p, letter))), "least probable"),
    (LETTERS, (4, asked(lambda f, p, letter, text: f(p, letter) + f(p, text))), "still counts"),
    (LETTERS, (4, asked(lambda f, p, letter, text: f(p + text, letter))), "leave the prompt"),
    (LETTERS, (4, asked(lambda f, p, letter, text: f(letter, p))), "takes the prompt first"),
    (LETTERS, (4, asked(lambda f, p, letter, text: f(p, f"({letter})"))), "without brackets"),
    (LETTERS, (4, asked(lambda f, p, letter, text: f(p, letter.lower()))), "capital letters"),
    (LETTERS, (4, lambda *a: True), "every answer is right then"),
    (LETTERS, (4, lambda *a: False), "no answer is right then"),
    (LETTERS, (4, lambda *a: "B"), "True or False"),
    (RUNS, (5, None), "of what is line 6"),
    (RUNS, (4, None), "the mean grade of a run"),
    (RUNS, (6, None), "fixed is not written yet"),
    (RUNS, (6, runs(max)), "still the best"),
    (RUNS, (6, runs(min)), "the worst of the runs"),
    (RUNS, (6, runs(np.median)), "the error is that of the mean"),
    (RUNS, (6, runs(lambda s: s[0])), "that is the first run"),
    (RUNS, (6, runs(lambda s: s[-1])), "that is the last run"),
    (RUNS, (6, runs(spread=lambda s: np.std(s, ddof=1))), "by the root of n"),
    (RUNS, (6, runs(spread=lambda s: np.std(s) / len(s) ** 0.5)), "ddof=1"),
    (RUNS, (6, runs(spread=np.std)), "right as it stood"),
    (RUNS, (6, runs(spread=np.ptp)), "the range grows"),
    (RUNS, (6, runs(lambda s: 5.0)), "the mean of the"),
    (RUNS, (6, runs(spread=lambda s: 0.0)), "the error of line 5 was right"),
    (RUNS, (6, over_all_grades), "a run of its own"),
    (RUNS, (6, lambda r: runs()(r)[::-1]), "the mean comes first"),
    (RUNS, (6, runs(sum)), "the sum of the scores"),
    (RUNS, (6, runs(spread=lambda s: np.std(s, ddof=1) / len(s))), "root of the number of runs"),
    (RUNS, (6, runs(spread=lambda s: np.var(s, ddof=1) / len(s))), "the square of the error"),
    (RUNS, (6, runs(max, np.std)), "and line 5 was right"),
    (RUNS, (6, lambda runs: 5.0), "return two numbers"),
    (REFERENCES, (4, None), "Should it hand over all"),
    (REFERENCES, (5, None), "if the reference is"),
    (REFERENCES, (3, None), "fixed is not written yet"),
    (REFERENCES, (3, counted(lambda ok: True, lambda same, ok: same)), "still trusts"),
    (REFERENCES, (3, counted(lambda ok: True, lambda same, ok: same and ok)), "and so as wrong"),
    (REFERENCES, (3, counted(lambda ok: True, lambda same, ok: same or not ok)), "as right now"),
    (REFERENCES, (3, counted(lambda ok: ok, lambda same, ok: same)), "when it matches"),
    (REFERENCES, (3, lambda a, r, v: sum(a[q] == r[q] for q in v)), "that is a count"),
    (REFERENCES, (3, up_to_the_first), "`continue` goes on"),
    (REFERENCES, (3, lambda a, r, v: 100 * references(a, r, v)), "in per cent"),
    (REFERENCES, (3, lambda a, r, v: 1 - references(a, r, v)), "the share of wrong answers"),
    (REFERENCES, (3, lambda a, r, v: len(v) / len(r)), "the share of verified references"),
    (REFERENCES, (3, lambda a, r, v: 1.0), "every score is 1"),
    (REFERENCES, (3, lambda a, r, v: 0.3), "the score is not 0.300"),
    (REFERENCES, (3, lambda a, r, v: 1 / 0), "At least one reference is verified"),
    (METRIC, (3, None), "goes through all tasks"),
    (METRIC, (4, None), "fixed is not written yet"),
    (METRIC, (4, each(lambda s, m: max(s.values()))), "still takes the higher"),
    (METRIC, (4, each(lambda s, m: min(s.values()))), "the lower one"),
    (METRIC, (4, each(lambda s, m: sum(s.values()) / len(s))), "a third one"),
    (METRIC, (4, each(lambda s, m: s["acc"])), "always acc."),
    (METRIC, (4, each(lambda s, m: s.get("acc_norm", 0))), "always acc_norm"),
    (METRIC, (4, each(lambda s, m: m)), "the metric's name"),
    (METRIC, (4, each(lambda s, m: max(s, key=s.get))), "the metric with the higher score"),
    (METRIC, (4, lambda r, m: {t: s[m] for t, s in r.items()}), "scores[metric[task]]"),
    (METRIC, (4, lambda r, m: {t: r[m[t]] for t in r}), "scores[metric[task]]"),
    (METRIC, (4, lambda r, m: {t: s[next(iter(m.values()))] for t, s in r.items()}),
     "of the first"),
    (METRIC, (4, lambda r, m: {m[t]: s[m[t]] for t, s in r.items()}), "not the metrics"),
    (METRIC, (4, lambda results, metric: {}), "the row is empty"),
    (METRIC, (4, lambda r, m: dict(itertools.islice(metric(r, m).items(), 1))), "is missing"),
    (METRIC, (4, each(lambda s, m: 0.77)), "whose score is another one"),
    (METRIC, (4, lambda results, metric: [1]), "return a dict"),
]  # fmt: skip
CHECKS = [
    ERROR, DIFFERENCE, STANDING, INTERVAL, SIZE, ENTRY, LETTERS, RUNS, REFERENCES, METRIC
]  # fmt: skip
FIRST = {LETTERS: (4,), RUNS: (6,), REFERENCES: (3,), METRIC: (4,)}
N_ANSWERS = {LETTERS: 2, RUNS: 2, REFERENCES: 2, METRIC: 2}

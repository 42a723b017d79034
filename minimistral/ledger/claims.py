"""The entries of the ledger, in the order in which the paper and its digests make the claims.

The claims are in our own words. Reasons show the figures of their evidence, so none is typed here
that could be computed.
"""

from minimistral._arguments import require_choice
from minimistral.ledger import model, results
from minimistral.ledger.claim import FALSE, LIMITS, OPEN, TRUE, Cell, Claim

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "seven-billion-parameters",
        "The model has 7 billion parameters, or 7.3 billion in the digests.",
        ("paper", "A", "B"), "abstract",
        LIMITS, "computed",
        "The sizes of Table 1 give {n:,} parameters, which is {billion:.2f} billion. So 7 is"
        " right, and 7.3 is a little too high.",
        model.parameters,
        lessons=("00", "08"),
        cells=(Cell("00", "c18", "together      7,241,732,096"),
               Cell("08", "cell-35", "291 arrays, 7,241,732,096 parameters")),
    ),
    Claim(
        "better-than-llama-2-13b",
        "It is better than Llama 2 13B on all benchmarks.",
        ("paper", "B"), "abstract; section 3; Table 2",
        FALSE, "corrected",
        "Table 2 has it ahead on {wins} of {all}; on NQ it has {mistral} against {llama}, a"
        " difference far inside its standard error of {error:.1f}. With errors from the sizes of"
        " the test sets, the lead is more than chance on {stand} of {all} ({names}), if chance may"
        " fake none of them (Holm, 5 %). These errors take the two models as independent. Both"
        " answered the same questions, so the true errors are probably smaller, and need answers"
        " that were not published.",
        results.better_than_13b,
        lessons=("15",),
    ),
    Claim(
        "better-than-llama-1-34b",
        "It is better than Llama 1 34B in reasoning, mathematics and code.",
        ("paper", "A", "B"), "abstract; section 3; Figure 4",
        OPEN, "not checkable",
        "Table 2 has {models} models and {rows} rows for a 34B. Figure 4 shows one as bars without"
        " numbers, and a height read off a picture has no error that could be stated.",
        results.rows_of_34b,
        needs="The numbers behind Figure 4.",
        lessons=("15",),
    ),
    Claim(
        "close-to-code-llama",
        "On code it comes close to Code-Llama 7B, without losing elsewhere.",
        ("paper", "B"), "section 1; Table 2",
        LIMITS, "computed",
        "Less Code-Llama's, its scores are {HumanEval:+.1f} ± {HumanEval_error:.1f} points on"
        " HumanEval and {MBPP:+.1f} ± {MBPP_error:.1f} on MBPP, where ± is one standard error."
        " Neither difference is more than chance, but with so few problems one of {hidden} points"
        " would not be seen either. On the {rest} other benchmarks it is ahead, each time by more"
        " than chance.",
        results.code,
        lessons=("15",),
    ),
    Claim(
        "three-times-its-size",
        "It performs like a Llama 2 of more than 3 times its size on reasoning, comprehension and"
        " MMLU, and of 1.9 times its size on knowledge.",
        ("paper", "B"), "section 3, Size and Efficiency; Figure 5",
        OPEN, "not checkable",
        "An equivalent size is read off a line of score against log(size). From the 7B and 13B of"
        " Table 2, extended beyond 13B, MMLU gives {beyond:.1f} ± {beyond_error:.1f} times;"
        " between the 13B and 34B of Llama 2's own paper, another evaluation, it gives"
        " {between:.1f} ± {between_error:.1f} times. So the choice of the line matters more than"
        " the error of the scores. On knowledge, Table 2 gives {known:.1f} ± {known_error:.1f}"
        " times, which fits. For reasoning and comprehension it lacks most benchmarks.",
        results.equivalent,
        needs="The points of Figure 5, which the paper does not print as numbers.",
        lessons=("15",),
    ),
    Claim(
        "reaches-131k-tokens",
        "A window of 4,096 and 32 layers give an attention span of about 131K tokens.",
        ("paper", "A", "B"), "section 2",
        LIMITS, "corrected",
        "The paper multiplies layers and window, {product:,}. One layer reaches W − 1 positions"
        " back, because a token also sees itself, so all layers reach {exact:,}. That is what they"
        " can reach; how much the tiny model uses of it falls steeply with distance.",
        model.reach,
        lessons=("05",),
        cells=(Cell("05", "cell-40", "reach 131,040"),
               Cell("05", "cell-37", "what lies beyond the window saves 0.012")),
    ),
    Claim(
        "context-128k-out-of-16k",
        "It has more than 128K tokens of context out of 16K actual tokens.",
        ("A",), "",
        FALSE, "retold",
        "A text of {tokens:,} tokens has none that is farther back than {back:,}. The span of 131K"
        " is an upper limit for longer texts.",
        model.context_of_16k,
        lessons=("05",),
    ),
    Claim(
        "twice-as-fast-at-16k",
        "With changed FlashAttention and xFormers, the window makes it 2 times faster at 16K"
        " tokens.",
        ("paper", "B"), "section 2",
        LIMITS, "computed",
        "Counted in operations, attention alone is {attention:.2f} times cheaper at 16,384 tokens."
        " The whole prompt is only {prefill:.2f} times cheaper, because most of the work is in the"
        " weight matrices. So the 2 can only speak of attention.",
        model.speed_of_the_window,
        lessons=("04", "14"),
        cells=(Cell("04", "c51", "30.8 TFLOP: 2.29 times"),
               Cell("04", "c51", "259.5 TFLOP: 1.15 times")),
    ),
    Claim(
        "linear-in-the-window",
        "The window makes attention O(N·W) instead of O(N²).",
        ("B",), "",
        TRUE, "computed",
        "When the text grows from 32,768 to 65,536 tokens, the visible pairs grow {windowed:.2f}"
        " times with a window of 4,096, and {causal:.2f} times without one.",
        model.pairs,
        lessons=("04",),
        cells=(Cell("04", "c44", "T = 48:   1176 (× 3.9)    141 (× 2.0)"),),
    ),
    Claim(
        "window-is-plain-masking",
        "FlashAttention 2 needs no patches for it, because the window is plain masking.",
        ("A",), "",
        FALSE, "corrected",
        "A mask given as an array only hides results. At 16,384 tokens all {array:.0f} million"
        " pairs are computed, more than the {causal:.0f} million of plain causal attention,"
        " although {window:.0f} million are visible. Only a kernel that skips blocks gains, and"
        " the paper speaks of changes made to FlashAttention and xFormers.",
        model.plain_masking,
        lessons=("04",),
    ),
    Claim(
        "no-rope-rescaling",
        "The rotation needs no rescaling for long texts.",
        ("A",), "",
        LIMITS, "corrected",
        "v0.1 keeps theta at {theta:,.0f} for its {context:,} tokens. For {later_context:,} tokens"
        " v0.2 and v0.3 dropped the window and raised theta to {later_theta:,.0f}.",
        model.theta,
        lessons=("02",),
        cells=(Cell("02", "cell-22", "v0.2, theta 1,000,000"),),
    ),
    Claim(
        "eight-times-less-cache",
        "The rolling cache takes 8 times less memory at 32K tokens, and quality is unchanged.",
        ("paper", "A", "B"), "section 2",
        TRUE, "computed",
        "{growing:.0f} GiB become {rolling:.0f} MiB. The model never sees farther than its window,"
        " with or without the cache: over {tokens} tokens the tiny model's logits are the same up"
        " to rounding. It does not follow that a model without a window would be no better.",
        model.rolling_memory,
        lessons=("06",),
        cells=(Cell("06", "cell-38", "rolling 512 MiB, 8 times"),
               Cell("06", "cell-32", "tokens that agree with no cache: 398 of 398")),
    ),
    Claim(
        "cache-of-hundreds-of-mb",
        "A KV cache of 32K tokens takes hundreds of MB.",
        ("A",), "",
        FALSE, "corrected",
        "In bfloat16 it takes {gib:.0f} GiB, and would take {mha:.0f} GiB with 32 KV heads. Only"
        " the rolling cache of v0.1 takes {mib:.0f} MiB, since it holds the last 4,096 tokens.",
        model.memory_of_32k,
        lessons=("00", "06"),
        cells=(Cell("00", "c34", "8 KV heads, window 32768            1,024           4,096"),),
    ),
    Claim(
        "speed-does-not-suffer",
        "With the rolling cache speed does not suffer, for its memory is contiguous.",
        ("A",), "",
        TRUE, "measured",
        "A token after 16 windows costs {work:.2f} times the operations of one after a single"
        " window, where it would cost {without:.2f} times without a window, and the cache stays"
        " one piece of the same size. In benchmarks/cpu.json one layer of the 7B takes 1.00 times"
        " as long.",
        model.decode_far_beyond,
        lessons=("06", "10"),
        cells=(Cell("10", "cost", "token 30,000:   8.18 G,   512 MiB"),
               Cell("06", "cell-41", "rolling :       131,072 bytes")),
    ),
    Claim(
        "overwritten-beyond-w",
        "When the position i is larger than W, past values in the cache are overwritten.",
        ("paper", "B"), "section 2; Figure 2",
        FALSE, "corrected",
        "Positions begin at 0 and slots are i mod W, so position W is the first to overwrite: in a"
        " cache of {window} slots it is position {first}.",
        model.first_overwritten,
        lessons=("06",),
        cells=(Cell("06", "cell-6", "token 4 -> slot 0, evicts 0"),),
    ),
    Claim(
        "sees-i-minus-w-to-i",
        "Position i attends to all positions between i − W and i.",
        ("paper",), "section 2, Sliding Window Attention",
        FALSE, "corrected",
        "Those are W + 1 positions, {prose} for W = {window}. Figure 1's caption allows at most W"
        " tokens, and a cache of W slots holds no more, so it is {rule}. The paper contradicts"
        " itself once more in Figure 2, which the text introduces with W = 3 and the caption with"
        " W = 4.",
        model.keys_of_the_prose,
        lessons=("04",),
        cells=(Cell("04", "c33", "i - W <= j <= i  keys per row: [1 2 3 4 5 5"),
               Cell("04", "c33", "0 <= i - j < W    keys per row: [1 2 3 4 4 4")),
    ),
    Claim(
        "gqa-four-times-less",
        "With GQA, memory and work of a decode step fall almost 4 times.",
        ("A",), "",
        LIMITS, "computed",
        "The KV cache is exactly {cache:.0f} times smaller than with 32 KV heads. A step for one"
        " text with a full window reads {step:.2f} times fewer bytes, for 64 texts {many:.2f}"
        " times fewer, and its operations fall {work:.2f} times: the weights remain.",
        model.gqa_step,
        lessons=("03",),
        cells=(Cell("03", "cell-27", "KV heads  8: cache of 4,096 tokens    512 MiB"),
               Cell("03", "weights-and-caches", "a step reads 18.0 GB with 32 KV heads")),
    ),
    Claim(
        "gqa-memory-and-speed",
        "GQA needs about 4 times less VRAM and is up to 1.4 times faster, at an equal MT-Bench"
        " score.",
        ("A",), "",
        OPEN, "retold",
        "The 4 holds for the cache. Weights and cache of one text of 32K tokens without a window"
        " take {one:.1f} times less, those of 64 texts {many:.1f} times less. The paper gives"
        " neither the 1.4 nor the comparison.",
        model.gqa_memory,
        needs=(
            "The same model trained with 32 KV heads, its speed on a stated machine, and its"
            " score."
        ),
        lessons=("03", "14"),
    ),
    Claim(
        "prefill-5-to-2-seconds",
        "Reading 32K tokens in chunks of W takes 2 seconds instead of 5 on an A100.",
        ("A", "B"), "",
        OPEN, "retold",
        "With the window the prompt takes {windowed:.0f} TFLOP instead of {full:.0f}, so counting"
        " explains a factor of {ratio:.1f} and not of 2.5. The rest would depend on the program it"
        " is compared with, and the paper states no times.",
        model.prefill_of_32k,
        needs="Both programs, run on that GPU.",
        lessons=("07", "14"),
        cells=(Cell("07", "cell-39", "all 532 TFLOP"),),
    ),
    Claim(
        "chunks-of-the-window",
        "A long prompt can be read in chunks, whose size can be the window's.",
        ("paper", "B"), "section 2, Pre-fill and Chunking; Figure 3",
        TRUE, "measured",
        "In chunks of {sizes} the tiny model, whose window is {window}, gives the same logits for"
        " {tokens} tokens up to rounding. So the size is free, and W is not the cheapest.",
        model.chunk_sizes,
        lessons=("07",),
        cells=(Cell("07", "all-sizes", "chunks of  31: all 148 rows of logits agree: True"),
               Cell("07", "cell-30", "94 % visible")),
    ),
    Claim(
        "versions-of-the-model",
        "v0.1 reads 8K tokens; v0.2 reads 32K and has no window; v0.3 has tokenizer v3 with 32,768"
        " pieces and function calling.",
        ("A",), "",
        TRUE, "computed",
        "The published sizes are {v01:,} tokens for v0.1 and {v02:,} for v0.2, which has no"
        " window. Tokenizer v3 has {pieces:,} pieces, among them the marks of a function call,"
        " which v1 has only as ordinary text.",
        model.versions,
        lessons=("08", "09"),
        cells=(Cell("00", "c26", "v0.3, 32,768 tokens"),
               Cell("09", "part2-code", "'[TOOL_CALLS]', '[AVAILABLE_TOOLS]'")),
    ),
    Claim(
        "best-7b-chat",
        "Mistral 7B Instruct is the best 7B model on MT-Bench.",
        ("paper", "A", "B"), "section 4; Table 3",
        LIMITS, "computed",
        "It has {ours} ± {deviation}, and the better of the {others} other 7B models in Table 3"
        " has {next}. The ± is the standard deviation of {runs} runs, so the mean has an error of"
        " {error:.2f}; the other rows have none. A language model is the only judge, of 80"
        " conversations, and models that are not in the table may be better.",
        results.chat_of_7b,
        lessons=("12", "15"),
    ),
    Claim(
        "comparable-to-13b-chat",
        "It is comparable to chat models of 13B.",
        ("paper", "B"), "section 4; Table 3",
        LIMITS, "computed",
        "On MT-Bench its {ours} is above {above} of the {all} models of 13B in Table 3, and below"
        " the {best} of the best; by the ratings of the Chatbot Arena it is above {above_elo} of"
        " them. So it stands among them, not before them.",
        results.chat_of_13b,
        lessons=("15",),
    ),
    Claim(
        "preferred-by-people",
        "People prefer its answers to those of Llama 2 13B Chat.",
        ("paper", "A", "B"), "section 4",
        LIMITS, "computed",
        "{ours:,} of {all:,} votes are {share:.1f} %, with a 95 % interval from {low:.1f} to"
        " {high:.1f} % (Wilson). That holds if votes are independent. Who voted on which"
        " questions, and how often, is not published.",
        results.votes,
        lessons=("15",),
    ),
    Claim(
        "public-instruction-data",
        "Instruct was made with public data only, and without tricks.",
        ("paper", "A", "B"), "section 4",
        OPEN, "not checkable",
        "The paper names no data set and no setting of the fine-tuning.",
        needs="The list of the data, and the program that was run.",
        lessons=("12",),
    ),
    Claim(
        "declines-unsafe-prompts",
        "With the recommended system prompt it declines all 175 unsafe prompts, and its score on"
        " MT-Bench falls from 6.84 to 6.58.",
        ("paper", "B"), "section 5.1; Table 4",
        LIMITS, "computed",
        "None of {prompts} fails. Up to {bound:.1f} % of such prompts may still fail at 95 %"
        " confidence (from one side; Wilson's interval from two sides ends at {wilson:.1f} %), and"
        " other kinds of prompts were not tried. The fall of {cost:.2f} ± {error:.2f} is more than"
        " chance, and the {left} that are left lie below the {llama} of Llama 2 13B Chat.",
        results.guardrail,
        lessons=("12",),
    ),
    Claim(
        "moderation-99-percent",
        "As a moderator of content it classifies with an accuracy of 99.4 %.",
        ("B",), "",
        FALSE, "corrected",
        "The paper (section 5.2) gives a precision of {precision} % at a recall of {recall} %,"
        " where acceptable prompts are the positive class. On its set, where {acceptable:.0f} %"
        " are acceptable, that is an accuracy of {accuracy:.1f} %, and {let_through:.1f} % of the"
        " unsafe prompts pass. Where only 1 % of all prompts are unsafe, {blocked:.0f} % of those"
        " it blocks would be acceptable.",
        results.moderation,
        lessons=("12",),
    ),
    Claim(
        "trained-on-public-corpora",
        "It was trained from scratch on public corpora.",
        ("A",), "",
        OPEN, "retold",
        "The paper says nothing about the data of the base model.",
        needs="The list of the training data.",
        lessons=("11",),
    ),
    Claim(
        "checkpoint-averaging",
        "Training used FlashAttention 2, xFormers and an average of checkpoints.",
        ("A",), "",
        OPEN, "retold",
        "The paper names FlashAttention and xFormers for inference, and no averaging. On the tiny"
        " model an average of five checkpoints changes the loss on held-out text by {stays:+.3f}"
        " bits per byte (plus is better) where the learning rate stays, by {falls:+.3f} where it"
        " falls, and by {early:+.3f} early in training.",
        results.averaging,
        needs="A description of the training.",
        lessons=("11",),
        cells=(Cell("11", "average", "step 1000, rate stays:  average -0.139"),),
    ),
    Claim(
        "apache-licence",
        "The weights are released under the Apache 2.0 licence.",
        ("paper", "A"), "abstract; section 1",
        TRUE, "cited",
        "A licence is what its giver says it is, and the paper says so twice.",
        lessons=("13",),
    ),
    Claim(
        "three-sided-trade-off",
        "The trade-off has three sides: capability, cost of training and cost of inference.",
        ("paper", "B"), "section 6",
        LIMITS, "computed",
        "This is an argument, so here is an example. Llama 2 13B read 2 trillion tokens. A model"
        " of the size of Mistral 7B that read 4 trillion to be as good would have cost less in all"
        " once {four:.1f} trillion tokens have gone through it; one that had to read 8 trillion,"
        " only after {eight:.1f}. How many Mistral 7B read is not published.",
        results.three_sides,
        lessons=("15",),
    ),
)  # fmt: skip


def find(slug: str) -> Claim:
    """The entry of that name. Raises ValueError, with all names, for another.

    >>> find("twice-as-fast-at-16k").verdict
    'true within limits'
    """
    by_slug = {claim.slug: claim for claim in CLAIMS}
    return by_slug[require_choice("slug", slug, by_slug)]


def decided_in(lesson: str) -> list[Claim]:
    """The claims that a lesson decides; lesson: its number, such as "04".

    >>> [claim.slug for claim in decided_in("05")]
    ['reaches-131k-tokens', 'context-128k-out-of-16k']
    """
    return [claim for claim in CLAIMS if lesson in claim.lessons]

"""A language model for tests: a GGUF file with random weights, the same bytes at every writing, in 0.2 s.

It has the llama architecture with two layers of 64 dimensions, a byte-level BPE vocabulary (so that every text can be
said, and JSON grammars work) and a ChatML template. What it says is nonsense in English words, without end: it stops at
the limit of tokens, at a stop word, or where a grammar ends.

    python tiny_model.py tiny.gguf
"""

import sys
from pathlib import Path

import gguf
import numpy as np

NAME = "tiny"
CONTEXT = 32_768  # tokens
_DIMENSIONS, _LAYERS, _HEADS, _FEED_FORWARD = 64, 2, 4, 160
_END_OF_TEXT, _TURN, _END_OF_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_WORDS = tuple(
    """
    a and apple at autumn bird blue book boat bread bridge bright by candle city clear clock cloud coffee cold dance
    dark day deep door dream early east evening every far field fire fish flower for forest friend from garden glass
    gold good grass green harbour hill home hour house in island it juice kitchen lake lamp large late leaf letter
    light little long market meadow mild milk moon morning mountain music narrow near new night north now ocean of old
    on one open orange over paper path pear quiet rain red river road roof room salt sand sea ship silver sky sleep
    slow small snow soft song south spring star stone street summer sun sweet table tea that the there this time to
    tower train tree two under valley village wall warm water way west white wide wind window winter with wood yellow
    """.split()  # noqa: SIM905 - two hundred pairs of quotes would hide the words
)
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_model(path: Path) -> Path:
    """Write the model, about 650 kB, and return `path`."""
    tokens, merges, words = _vocabulary()
    plain = len(tokens)
    tokens += [_END_OF_TEXT, _TURN, _END_OF_TURN]
    writer = gguf.GGUFWriter(str(path), "llama")
    _describe(writer, len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([int(gguf.TokenType.NORMAL)] * plain + [int(gguf.TokenType.CONTROL)] * 3)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(plain)
    writer.add_eos_token_id(plain + 2)
    writer.add_eot_token_id(plain + 2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(_TEMPLATE)
    for name, weights in _tensors(tokens, words):
        writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: gguf.GGUFWriter, vocabulary_size: int) -> None:
    writer.add_name("gleitzeit-tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(_DIMENSIONS)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_DIMENSIONS // _HEADS)
    writer.add_vocab_size(vocabulary_size)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _vocabulary() -> tuple[list[str], list[str], set[str]]:
    """All bytes; then each word with a space before it, built up letter by letter: (tokens, merges, the words)."""
    alphabet = _printable_bytes()
    space = alphabet[ord(" ")]
    tokens = list(alphabet)
    known = set(tokens)
    merges = []
    for word in _WORDS:
        for end in range(1, len(word) + 1):
            shorter, token = space + word[: end - 1], space + word[:end]
            if token not in known:
                known.add(token)
                tokens.append(token)
                merges.append(f"{shorter} {word[end - 1]}")
    return tokens, merges, {space + word for word in _WORDS}


def _printable_bytes() -> list[str]:
    """GPT-2's way to write each of the 256 bytes as one visible character."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(hidden)) for byte in range(256)]


def _tensors(tokens: list[str], words: set[str]) -> "list[tuple[str, np.ndarray]]":
    random = np.random.default_rng(20_261_120)

    def noise(*shape: int, scale: float) -> np.ndarray:
        return (random.standard_normal(shape) * scale).astype(np.float32)

    width, wide = _DIMENSIONS, _FEED_FORWARD
    ones = np.ones(width, np.float32)
    output = noise(len(tokens), width, scale=0.35)
    # Letters and turns are hardly ever said by themselves, only where a grammar asks for them: a text is words.
    output[[index for index, token in enumerate(tokens) if token not in words]] *= 0.05
    tensors = [
        ("token_embd.weight", noise(len(tokens), width, scale=0.5)),
        ("output_norm.weight", ones),
        ("output.weight", output),
    ]
    for layer in range(_LAYERS):
        shapes = {"attn_q": (width, width), "attn_k": (width, width), "attn_v": (width, width)}
        shapes |= {"attn_output": (width, width), "ffn_gate": (wide, width), "ffn_up": (wide, width)}
        shapes |= {"ffn_down": (width, wide)}
        tensors += [(f"blk.{layer}.{name}.weight", noise(*shape, scale=0.15)) for name, shape in shapes.items()]
        tensors += [(f"blk.{layer}.{name}.weight", ones) for name in ("attn_norm", "ffn_norm")]
    return tensors


if __name__ == "__main__":
    print(write_model(Path(sys.argv[1])))

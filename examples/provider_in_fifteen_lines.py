"""A provider of one's own. Start it, and tell the coordinator where it is:

    python examples/provider_in_fifteen_lines.py --listen 127.0.0.1:9300
    gz call provider.register --params '{"url": "ws://127.0.0.1:9300/"}'

Then any task can say `method: words/count` with `params: {text: "…"}`. With `--nats URL --cluster ID`, as `gz status`
shows them, it is found without being registered.
"""

from gleitzeit.provider import Call, Provider

provider = Provider("words", protocols=["words/v1"], capacity=8)


@provider.method("words/count")
async def count(call: Call, text: str, shortest: int = 1) -> dict[str, int]:
    """How often each word occurs."""
    words = [word for word in text.lower().split() if len(word) >= shortest]
    call.progress(1, 1, f"{len(words)} words")
    return {word: words.count(word) for word in sorted(set(words))}


if __name__ == "__main__":
    provider.main()

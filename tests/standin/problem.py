"""A request that the server does not carry out."""


class Problem(Exception):  # noqa: N818 - "error" is the server's own word for the text inside
    """A refusal: the status that a reply without a stream has, and Ollama's text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text

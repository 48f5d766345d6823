"""The part of OpenAI's API that Ollama serves beside its own, as far as a caller of chat completions looks."""

from typing import Any

# What OpenAI calls an option, and what Ollama does.
OPTIONS = {"max_tokens": "num_predict", "seed": "seed", "stop": "stop", "temperature": "temperature", "top_p": "top_p"}


def as_chat(request: dict[str, Any]) -> dict[str, Any]:
    """Return the request of POST /api/chat that a request for a completion without a stream comes to."""
    options = {name: request[key] for key, name in OPTIONS.items() if request.get(key) is not None}
    options.setdefault("temperature", 1.0)
    return {"model": request["model"], "messages": request["messages"], "stream": False, "options": options}


def as_completion(request: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
    """Return the completion that a reply of /api/chat comes to."""
    said, answered = reply.get("prompt_eval_count", 0), reply.get("eval_count", 0)
    usage = {"prompt_tokens": said, "completion_tokens": answered, "total_tokens": said + answered}
    choice = {"index": 0, "message": reply["message"], "finish_reason": reply["done_reason"]}
    about = {"id": "chatcmpl-1", "object": "chat.completion", "model": request["model"]}
    return {**about, "choices": [choice], "usage": usage}

"""What turns gradients into steps: each optimizer as its own library has it, with the settings that it takes."""

from typing import Any

from ollamake.training.settings import Settings


def choose_optimizer(settings: Settings) -> tuple[Any, dict[str, Any]]:
    """Return the optimizer's class and its arguments, for the Trainer's `optimizer_cls_and_kwargs`.

    Weight decay is not among them: the Trainer gives it to some weights and spares others (biases, norms). `adam`
    adds it to the gradient, all others shrink the weights apart from the step (Loshchilov and Hutter).
    """
    from torch import optim

    rate = {"lr": settings.learning_rate}
    adam = {**rate, "betas": (settings.adam_beta1, settings.adam_beta2), "eps": settings.adam_epsilon}
    # Fused kernels took a third of the time on a CPU, with the same bytes from run to run and on one thread or two.
    if settings.optimizer == "adamw":
        return optim.AdamW, {**adam, "fused": True}
    if settings.optimizer == "adam":
        return optim.Adam, {**adam, "fused": True}
    if settings.optimizer == "sgd":
        return optim.SGD, {**rate, "momentum": settings.sgd_momentum, "fused": True}
    if settings.optimizer == "adafactor":
        from transformers import Adafactor

        # Its own schedule off: learning_rate and lr_scheduler hold for every optimizer.
        return Adafactor, {**rate, "scale_parameter": False, "relative_step": False}
    from bitsandbytes.optim import AdamW

    bits = 8 if settings.optimizer.endswith("8bit") else 32
    return AdamW, {**adam, "optim_bits": bits, "is_paged": settings.optimizer.startswith("paged")}

"""Hugging Face Accelerate: the loader knows its rank, so only model and optimizer are prepared.

Run it alone or with `accelerate launch`.
"""

import timm
import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy

from fdsl_gpu import FormulaLoader, FormulaStream


def main(model="resnet18", image_size=112, batch_size=32, steps=10, resume=None, save=None):
    accelerator = Accelerator()
    stream = FormulaStream(
        "fractaldb-1k", batch_size, image_size=image_size, device=accelerator.device
    )
    loader = FormulaLoader(stream)  # mean 0.5, std 0.5
    torch.manual_seed(0)
    net = timm.create_model(model, num_classes=1000)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    net, optimizer = accelerator.prepare(net, optimizer)
    accelerator.register_for_checkpointing(loader)  # its state is one integer
    if resume:
        accelerator.load_state(resume)
    losses = []
    for images, labels in loader:  # endless
        loss = cross_entropy(net(images), labels)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if len(losses) == steps:
            break
    if save:
        accelerator.save_state(save)
    accelerator.print(f"{steps} steps, loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    main()

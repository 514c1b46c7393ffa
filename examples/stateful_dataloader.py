"""torchdata's StatefulDataLoader: stop after any batch, and go on with the very next sample."""

from pathlib import Path

import timm
import torch
from torch.nn.functional import cross_entropy
from torchdata.stateful_dataloader import StatefulDataLoader

from fdsl_gpu import FormulaStream


def main(
    checkpoint="checkpoint.pt", model="resnet18", image_size=112, batch_size=32, steps=10, workers=2
):
    stream = FormulaStream("fractaldb-1k", batch_size, image_size=image_size)
    loader = StatefulDataLoader(stream, batch_size=None, num_workers=workers)
    torch.manual_seed(0)
    net = timm.create_model(model, num_classes=1000)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    if Path(checkpoint).exists():
        state = torch.load(checkpoint, weights_only=False)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        loader.load_state_dict(state["loader"])
    losses = []
    for images, labels in loader:  # endless
        loss = cross_entropy(net(images / 255), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if len(losses) == steps:
            break
    state = {
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "loader": loader.state_dict(),
    }
    torch.save(state, checkpoint)
    print(f"{steps} more steps, loss {losses[-1]:.3f}; run me again to go on")
    return losses


if __name__ == "__main__":
    main()

"""torch's DataLoader: its workers draw, and the batches are the same for any number of them."""

import timm
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from fdsl_gpu import FormulaStream


def main(model="resnet18", image_size=112, batch_size=32, epochs=2, epoch_size=320, num_workers=2):
    stream = FormulaStream(
        "fractaldb-1k", batch_size, image_size=image_size, num_samples=epoch_size
    )
    loader = DataLoader(stream, batch_size=None, num_workers=num_workers)
    torch.manual_seed(0)
    net = timm.create_model(model, num_classes=1000)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    losses = []
    for _ in range(epochs):  # each epoch goes on in the stream where the last one ended
        for images, labels in loader:  # uint8 [B, 3, H, W] and int64 [B]
            loss = cross_entropy(net(images / 255), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        print(f"{len(losses)} steps, loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    main()

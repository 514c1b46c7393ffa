"""torch.compile: a compiled step; drawing stays outside and goes on beside it."""

import timm
import torch
from torch.nn.functional import cross_entropy

from fdsl_gpu import FormulaLoader, FormulaStream


def main(model="resnet18", image_size=112, batch_size=32, steps=10, backend="inductor"):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    stream = FormulaStream("fractaldb-1k", batch_size, image_size=image_size, device=device)
    loader = FormulaLoader(stream, channels_last=True)
    torch.manual_seed(0)
    net = timm.create_model(model, num_classes=1000).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)

    @torch.compile(backend=backend)
    def forward(images, labels):
        with torch.autocast(device, torch.bfloat16):
            return cross_entropy(net(images), labels)

    losses = []
    for images, labels in loader:  # all batches have one shape: nothing is compiled twice
        loss = forward(images, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if len(losses) == steps:
            break
    print(f"{steps} steps, loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    main()

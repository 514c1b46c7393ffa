"""Lightning: a DataModule of drawn images, which Trainer.fit saves and restores at any step."""

import lightning
import timm
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from fdsl_gpu import FormulaDataset, FormulaLoader, FormulaStream


class DrawnImages(lightning.LightningDataModule):
    def __init__(self, name, image_size, batch_size, epoch_size, val_size):
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self):
        h = self.hparams
        # drawn where the model trains; each rank draws its own part: no sampler is needed
        stream = FormulaStream(
            h.name,
            h.batch_size,
            image_size=h.image_size,
            num_samples=h.epoch_size,
            device=self.trainer.strategy.root_device,
        )
        return FormulaLoader(stream)

    def val_dataloader(self):
        h = self.hparams
        images = FormulaDataset(
            h.name, image_size=h.image_size, num_samples=h.val_size, split="val"
        )
        return DataLoader(images, h.batch_size)


class Classifier(lightning.LightningModule):
    def __init__(self, model):
        super().__init__()
        self.net = timm.create_model(model, num_classes=1000)
        self.losses = []

    def training_step(self, batch, _):
        images, labels = batch
        loss = cross_entropy(self.net(images), labels)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, _):
        images, labels = batch
        self.log("val_loss", cross_entropy(self.net(images / 127.5 - 1), labels), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def main(
    model="resnet18",
    image_size=112,
    batch_size=32,
    epoch_size=320,
    val_size=64,
    resume=None,
    **settings,
):
    lightning.seed_everything(0, verbose=False)
    data = DrawnImages("fractaldb-1k", image_size, batch_size, epoch_size, val_size)
    module = Classifier(model)
    # Lightning's own sampler would be a second one
    trainer = lightning.Trainer(use_distributed_sampler=False, **{"max_epochs": 2, **settings})
    trainer.fit(module, data, ckpt_path=resume)
    return module.losses


if __name__ == "__main__":
    main()

"""What `lightning-adapter evaluate` computes over the predictions of the example: logits of ten classes, and labels."""

from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

metrics = MetricCollection(
    {
        "accuracy": MulticlassAccuracy(num_classes=10, average="micro"),
        "accuracy_of_class": MulticlassAccuracy(num_classes=10, average=None),
        "confusion_matrix": MulticlassConfusionMatrix(num_classes=10),
    }
)

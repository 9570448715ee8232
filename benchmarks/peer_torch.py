"""NeXtVLAD in plain PyTorch, written from the paper; `peers.py` runs it in the environment of requirements-peers.txt.

Layers have the names of ours. Padded frames get no attention, but enter the batch statistics of a training.
"""

import numpy as np
import torch
from peer_process import serve
from torch import nn
from torch.nn import functional


def linear(weights: dict, name: str) -> nn.Linear:
    kernel = torch.from_numpy(weights[f"{name}/kernel"])
    layer = nn.Linear(*kernel.shape, bias=f"{name}/bias" in weights)
    layer.weight = nn.Parameter(kernel.T.contiguous())
    if layer.bias is not None:
        layer.bias = nn.Parameter(torch.from_numpy(weights[f"{name}/bias"]))
    return layer


def batch_norm(weights: dict, name: str) -> nn.BatchNorm1d:
    gamma, beta, mean, variance = (
        torch.from_numpy(weights[f"{name}/{part}"]) for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    layer = nn.BatchNorm1d(len(gamma), eps=1e-3, momentum=1e-3)
    layer.load_state_dict({"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance})
    return layer


class Pooling(nn.Module):
    """Section 3.2: frames (batch, frames, features) to (batch, group size * clusters)."""

    def __init__(self, weights: dict, name: str):
        super().__init__()
        self.expand = linear(weights, f"{name}/fully_connected")
        self.attention = linear(weights, f"{name}/fully_connected_1")
        self.assignment = linear(weights, f"{name}/cluster_weights")
        self.cluster_bn = batch_norm(weights, f"{name}/cluster_bn")
        self.centers = nn.Parameter(torch.from_numpy(weights[f"{name}/cluster_weights2"]))
        self.vlad_bn = batch_norm(weights, f"{name}/vlad_bn")

    def forward(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch, (_, size, clusters) = len(frames), self.centers.shape
        expanded = self.expand(frames)
        attention = torch.sigmoid(self.attention(expanded)) * mask[..., None]
        logits = self.cluster_bn(self.assignment(expanded).flatten(0, 1)).view(batch, -1, clusters)
        assignment = torch.softmax(logits, dim=-1) * attention.view(batch, -1, 1)
        vlad = expanded.view(batch, -1, size).mT @ assignment - assignment.sum(1, keepdim=True) * self.centers
        return self.vlad_bn(functional.normalize(vlad, dim=1).flatten(1))


class NeXtVLAD(nn.Module):
    """Frames as bytes (batch, frames, features) and num_frames (batch,) to logits (batch, classes)."""

    def __init__(self, weights: dict, dropout: float):
        super().__init__()
        self.poolings = nn.ModuleList(Pooling(weights, f"vlad_{stream}") for stream in range(2))
        self.dropout = nn.Dropout(dropout)
        self.hidden = linear(weights, "hidden1_weights")
        self.hidden_bn = batch_norm(weights, "hidden1_bn")
        self.squeeze = linear(weights, "gating/gating_weights_1")
        self.gating_bn = batch_norm(weights, "gating/gating_bn")
        self.excite = linear(weights, "gating/gating_weights_2")
        self.classifier = linear(weights, "classifier/fully_connected")

    def forward(self, frames: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        mask = torch.arange(frames.shape[1])[None] < num_frames[:, None]
        streams = (frames.float() * (4 / 255) + (4 / 512 - 2)).split([p.expand.in_features for p in self.poolings], -1)
        pooled = torch.cat([pooling(stream, mask) for pooling, stream in zip(self.poolings, streams)], -1)  # noqa: B905
        hidden = self.hidden_bn(self.hidden(self.dropout(pooled)))
        gates = torch.sigmoid(self.excite(torch.relu(self.gating_bn(self.squeeze(hidden)))))
        return self.classifier(hidden * gates)


class Network:
    """See `peer_process.serve`."""

    def __init__(self, weights: dict, learning: dict):
        self.model = NeXtVLAD(weights, learning["dropout"])
        self.learning = learning
        self.optimizer = torch.optim.Adam(self.model.parameters(), learning["learning_rate"], eps=1e-8, fused=True)

    @torch.inference_mode()
    def predict(self, frames: np.ndarray, num_frames: np.ndarray) -> np.ndarray:
        self.model.eval()
        return torch.sigmoid(self.model(torch.from_numpy(frames), torch.from_numpy(num_frames))).numpy()

    def train(self, frames: np.ndarray, num_frames: np.ndarray, labels: np.ndarray) -> float:
        self.model.train()
        logits = self.model(torch.from_numpy(frames), torch.from_numpy(num_frames))
        labels = torch.from_numpy(labels).float()
        loss = functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / len(labels)
        penalty = sum(parameter.square().sum() for parameter in self.model.classifier.parameters())
        loss = loss + self.learning["l2"] / 2 * penalty
        self.optimizer.zero_grad()
        loss.backward()
        for parameter in self.model.parameters():
            nn.utils.clip_grad_norm_(parameter, self.learning["clip_norm"])
        self.optimizer.step()
        return loss.item()


if __name__ == "__main__":
    serve(f"PyTorch {torch.__version__.partition('+')[0]}", Network)

"""One stage of training: epochs of steps, a moving average of the weights, and a state on disk to go on from."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from training.fit.batches import Batch, prefetch

STATE = "state"  # folder of checkpoints within a stage's folder


@dataclass(frozen=True, eq=False)
class Stage:
    """What is trained and how.

    Attributes:
        name: for the log and the folder of the state.
        epochs: how many.
        batches: epoch -> its batches.
        loss: a batch's tensors -> named losses; the first is minimised. Called within a gradient tape.
        groups: variables and the optimiser of each group.
        evaluate: what the log says of the averaged network after an epoch; its figures by name.
        momentum: of the moving average of the weights (Polyak and Juditsky, 1992); 0 for none.
        other_variables: variables that steps change without a gradient, as the state of dropout.
    """

    name: str
    epochs: int
    batches: Callable[[int], Iterator[Batch]]
    loss: Callable[..., dict[str, Any]]
    groups: Sequence[tuple[Sequence[Any], keras.optimizers.Optimizer]]
    evaluate: Callable[[], dict[str, float]]
    momentum: float = 0.0
    other_variables: Sequence[Any] = ()


def train(stage: Stage, folder: Path, log_file: Path, log: Callable[[str], Any] = print) -> None:
    """Trains, or goes on after the last epoch that ended; leaves the averaged weights in the variables.

    Args:
        stage: what to do.
        folder: for its state.
        log_file: a CSV file; one line is added for each epoch.
        log: receives one line for each epoch.
    """
    variables = [v for group, _ in stage.groups for v in group]
    for group, optimizer in stage.groups:
        optimizer.build(list(group))
    averages = [tf.Variable(v, trainable=False) for v in variables] if stage.momentum else []
    step_count, epochs_done = tf.Variable(0, dtype=tf.int64), tf.Variable(0, dtype=tf.int64)
    state = tf.train.Checkpoint(
        # Keras' variables keep a tf.Variable each, which is what a checkpoint knows.
        variables=[getattr(v, "value", v) for v in variables],
        optimizers=[[v.value for v in optimizer.variables] for _, optimizer in stage.groups],
        averages=averages,
        others=[getattr(v, "value", v) for v in stage.other_variables],
        seen=step_count,
        done=epochs_done,
    )
    manager = tf.train.CheckpointManager(state, folder / STATE / stage.name, max_to_keep=1)
    if manager.latest_checkpoint:
        state.restore(manager.latest_checkpoint).assert_consumed()

    @tf.function(jit_compile=False)  # type: ignore[untyped-decorator]  # XLA's convolutions on a CPU: ten times as long
    def step(*tensors: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            losses = stage.loss(*tensors)
            total = next(iter(losses.values()))
        gradients = iter(tape.gradient(total, [getattr(v, "value", v) for v in variables]))
        for group, optimizer in stage.groups:
            pairs = [(next(gradients), v) for v in group]
            # The ends of the embedding's range are in no loss.
            optimizer.apply_gradients([(gradient, v) for gradient, v in pairs if gradient is not None])
        step_count.assign_add(1)
        if averages:
            # At first the mean of all so far, so that the random start is soon forgotten.
            count = tf.cast(step_count, tf.float32)
            keep = tf.minimum(stage.momentum, (1 + count) / (10 + count))
            for average, v in zip(averages, variables):
                average.assign(keep * average + (1 - keep) * v)
        return losses

    while int(epochs_done.numpy()) < stage.epochs:
        epoch, start = int(epochs_done.numpy()), time.monotonic()
        losses: list[dict[str, float]] = []
        for b in prefetch(lambda e=epoch: stage.batches(e)):  # type: ignore[misc]
            loss_values = step(b.inputs, b.allowed, b.covered, b.mapped, b.severity)
            losses.append({name: float(value) for name, value in loss_values.items()})
        row = {name: float(np.mean([loss[name] for loss in losses])) for name in losses[0]}
        with _swapped(variables, averages):
            row |= stage.evaluate()
        epochs_done.assign_add(1)
        manager.save()
        row["seconds"] = time.monotonic() - start
        _log(log_file, {"stage": stage.name, "epoch": epoch + 1, **row})
        log(f"{stage.name} {epoch + 1}/{stage.epochs}  " + "  ".join(f"{k} {v:.3f}" for k, v in row.items()))
    for v, average in zip(variables, averages):
        v.assign(average)


class _swapped:
    """The averages in place of the variables for a while."""

    def __init__(self, variables: Sequence[Any], averages: Sequence[Any]) -> None:
        self.pairs = list(zip(variables, averages))

    def __enter__(self) -> None:
        self.kept = [v.numpy() for v, _ in self.pairs]
        for v, average in self.pairs:
            v.assign(average)

    def __exit__(self, *_: object) -> None:
        for (v, _), kept in zip(self.pairs, self.kept):
            v.assign(kept)


def _log(path: Path, row: dict[str, Any]) -> None:
    """Adds a line; where columns come anew, as with another stage, the file is written again."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    rows.append({k: f"{v:.5f}" if isinstance(v, float) else v for k, v in row.items()})
    columns = list(dict.fromkeys(name for r in rows for name in r))
    part = path.with_name(f".{path.name}.part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)

# SPDX-License-Identifier: MIT
"""A training loop as a user writes it, with every kind of state and of random numbers.

python loop.py STEPS [KILL_AT]      # prints a digest of everything at the end
"""

import hashlib
import os
import random
import signal
import sys

import numpy as np
import torch
from torch import nn

import lib
from lib import AdamWPrune, Checkpoints, Pruner, Schedule, prunable


def main(steps: int, kill_at: int) -> None:
    torch.set_num_threads(1)
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 1))
    plan = Schedule(0.5, total_steps=steps, start=2, end=steps - 2, frequency=2)
    optimizer = AdamWPrune(net.parameters(), Pruner(prunable(net), plan), lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, steps)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=3)
    with lib.run("loop", config={"steps": steps}, resume=True) as run:
        checkpoints = Checkpoints(run, keep=2, best="val/loss")
        last = checkpoints.restore(
            model=net, optimizer=optimizer, scheduler=scheduler, scaler=scaler
        )
        seen = last.extra.get("seen", 0.0)
        for step in range(last.step + 1, steps + 1):
            x = torch.randn(16, 8) + random.random() + float(np.random.rand())
            loss = net(x).square().mean()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            optimizer.zero_grad()
            seen += float(loss)
            run.log({"train/loss": loss})
            if step % 3 == 0:
                checkpoints.save(
                    step, model=net, optimizer=optimizer, scheduler=scheduler, scaler=scaler,
                    metrics={"val/loss": float(loss)}, extra={"seen": seen},
                )  # fmt: skip
            if step == kill_at:
                checkpoints.wait()
                os.kill(os.getpid(), signal.SIGKILL)
    digest = hashlib.sha256(repr((seen, run.step, scaler.get_scale())).encode())
    for tensor in net.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    for state in optimizer.state_dict()["state"].values():
        for tensor in state.values():
            digest.update(tensor.numpy().tobytes())
    draws = random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item()
    print(digest.hexdigest(), *draws)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)

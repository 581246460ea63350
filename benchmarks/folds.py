"""What rungs lose if they train one fold in place of three, from recorded learning curves.

    python -m benchmarks.folds

Prints, for all recorded configurations and for the better half of them, after some epochs: the
rank correlation (Spearman) of top-3 with that in full, of the mean over the folds and of one fold;
and, over random groups of nine of which the best third by that is kept, how far the best of the
kept is in full below the best of the group: by three folds, by one, and by one trained three times
as long, which costs as much as three. In full is the mean over the folds at the end of the curves.

Then how much of its noise a training keeps from rung to rung: the correlation between epochs of
what is left of a fold, on the arcsine scale, after the means of its configuration and its number.
"""

import argparse

import numpy as np
from scipy.stats import spearmanr

from benchmarks.curves import METRICS, PACKED, unpack
from benchmarks.surrogate import fold_residuals, to_scale
from utils import derive_rng

EPOCHS = (3, 6, 12)
RUNGS = (3, 6, 12, 25, 50)
GROUP, KEPT = 9, 3
DRAWS = 4000


def lost(early: np.ndarray, full: np.ndarray) -> float:
    """Top-3 in full that keeping the best by `early` costs; both of a group's configurations."""
    kept = np.argsort(-early, kind="stable")[:KEPT]
    return float(full.max() - full[kept].max())


def row(top3: np.ndarray, epochs: int, draws: int) -> tuple[float, ...]:
    """Of curves (N, F, E): two correlations and three losses, see above."""
    folds, rng = top3.shape[1], derive_rng(1, "folds", epochs)
    full, early = top3[:, :, -1].mean(axis=1), top3[:, :, epochs - 1]
    longer = top3[:, :, folds * epochs - 1]
    one = np.mean([spearmanr(early[:, fold], full)[0] for fold in range(folds)])
    losses = []
    for _ in range(draws):
        group = rng.choice(len(full), GROUP, replace=False)
        fold = rng.integers(folds)
        ways = early[group].mean(axis=1), early[group, fold], longer[group, fold]
        losses.append([lost(way, full[group]) for way in ways])
    return (spearmanr(early.mean(axis=1), full)[0], float(one), *np.mean(losses, axis=0))


def luck(curves: np.ndarray, metric: str) -> np.ndarray:
    """Of curves (N, F, E, 5): the correlations (RUNGS, RUNGS) of the noise in a metric."""
    rungs = curves[:, :, [epochs - 1 for epochs in RUNGS]].astype(float)
    left = fold_residuals(to_scale(rungs)[..., METRICS.index(metric)])
    return np.corrcoef(left.reshape(-1, len(RUNGS)).T)


def main() -> None:
    """The tables."""
    description, layout = __doc__, argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=description, formatter_class=layout).parse_args()
    curves = unpack(PACKED).curves
    top3 = curves[..., METRICS.index("top3")]
    top3 = top3[np.isfinite(top3).all(axis=(1, 2))]
    order = np.argsort(-top3[:, :, -1].mean(axis=1), kind="stable")
    print("| configurations | epochs | correlation, all folds | one fold |", end="")
    print(" lost by all folds | by one | by one, as dear |")
    print("| --- " * 7 + "|")
    for name, some in (("all", order), ("better half", order[: len(order) // 2])):
        for epochs in EPOCHS:
            cells = [
                f"{value:.4f}" if i > 1 else f"{value:.2f}"
                for i, value in enumerate(row(top3[some], epochs, DRAWS))
            ]
            print("| " + " | ".join([name, str(epochs), *cells]) + " |")
    print(f"\n| noise of | at epoch | {' | '.join(f'and {epochs}' for epochs in RUNGS)} |")
    print("| --- " * (2 + len(RUNGS)) + "|")
    for metric in ("top3", "precision"):
        for epochs, cells in zip(RUNGS, luck(curves, metric), strict=True):
            print("| " + " | ".join([metric, str(epochs), *(f"{c:.2f}" for c in cells)]) + " |")


if __name__ == "__main__":
    main()

"""Blank collapse: seen in the training batches as they pass, and left by larger steps.

In a collapse a model spreads one expected sign over the frames of a clip: the blank wins each of them, though the
signs are ranked right. It is a plateau and no minimum. A linear head under plain CTC sits on it for the longer the
smaller its steps are; the heads whose frames compete cross it within the first epochs of CTC. So what tells a collapse
from its crossing is how long it lasts, and what helps is a larger learning rate.

Measured with a linear head, plain CTC (`--flat-start 0`), the 20 best-supplied glosses of WLASL, 37 val clips, of which
best-path decoding reads right / the exact posterior ranks first / come out empty; seeds in their order:

    100 epochs, --lr 2e-3   left alone    6/20/28   17/24/10    1/28/36    0/25/36   23/23/1
                            watched      26/27/0    29/29/0    11/33/25   23/28/4    (not touched)
    300 epochs, --lr 1e-3   left alone   26/26/0    28/28/0    11/29/25   10/31/19   28/30/2
                            watched      (neither is touched)  22/31/4    28/31/0    32/33/1

The share of val clips that come out empty falls from 60 % to 16 % and from 25 % to 3 %; of 5 seeds 3 and 2 end with
half of the clips empty or more if left alone, and 1 and none if watched.

With the default head nothing was done in any of these runs: 100, 300 epochs at its own learning rate, 150 at 2e-2, 300
at 1e-3, 40 with 100 glosses. In 100 epochs at 2e-3, too few for so small steps, larger ones were taken with 3 of 3
seeds: 32, 32, 32 of 37 clips right and 2, 0, 1 empty, and not 31, 31, 32 and 2, 4, 2.

What did not help, on runs like these: to lower the blank's bias (before the signs are ranked every clip gets a sign, a
wrong one; later the bias is back within epochs), a loss on the mean blank, a new flat start (the collapse is back when
CTC is), a loss on each sign's best moment. Larger steps come too late where a long flat start ends in a collapse: the
learning rate has gone down by then.
"""

import math
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from signet.decoding import BLANK

# Clips of an epoch that are looked at: enough to tell a share of one half from none, and few of some thousand.
LOOKED_AT = 256

# A model is silent on a sequence where no frame is more likely to be a sign than to be blank. From this share of silent
# sequences on it may be in a collapse.
SILENT = 0.5

# It is, if that lasts so large a share of the epochs, and at least so many epochs and steps, and the share of silent
# sequences falls by less than this meanwhile. The default head with an eighth of its learning rate is silent on nine
# tenths of the sequences for 17 % of the epochs, and then speaks by itself.
WATCH = 0.2
SHORTEST_WATCH = 10
FEWEST_STEPS = 100
FALL = 0.1

# What the learning rate is raised by, and how often.
RAISE = 4.0
MOST_RAISES = 2


@dataclass(frozen=True)
class Posteriors:
    """What a model says of the sequences that it learns from, while it learns from them: dropout and augmentation on.

    Attributes:
        blank_ratio: share of frames whose best class is the blank.
        empty: share of sequences whose best path holds no sign.
        silent: share of sequences in which no frame is more likely to be a sign, whichever, than to be blank.
        emitted: signs that a path drawn from the posteriors is expected to hold, for each sign that is there.
    """

    blank_ratio: float
    empty: float
    silent: float
    emitted: float

    @classmethod
    def of(cls, sums: Tensor) -> "Posteriors":
        """From the sum of what `observe` returned."""
        blanks, frames, empty, silent, sequences, emitted, signs = sums.tolist()
        return cls(blanks / frames, empty / sequences, silent / sequences, emitted / signs)


# How many figures `observe` returns.
FIGURES = 7


@torch.no_grad()
def observe(log_probs: Tensor, inside: Tensor, target_lengths: Tensor, blank_penalty: float) -> Tensor:
    """What there is to be seen in a batch or a part of one: sums that can be added up, float32 [`FIGURES`].

    The expected signs of a path whose frames are drawn independently: each frame in which a class other than the one
    before it is drawn begins a sign, sum over t and c > 0 of p_t(c) · (1 - p_{t-1}(c)).

    Args:
        log_probs: [B, T, C + 1].
        inside: bool [B, T], whether the frame belongs to a clip.
        target_lengths: [B], signs.
        blank_penalty: nats taken from the blank before the best path is read.
    """
    blank, signs = log_probs[..., BLANK].float(), log_probs[..., BLANK + 1 :].float()
    best = (blank - blank_penalty <= signs.amax(dim=-1)) & inside
    spoken = (blank < -math.log(2)) & inside
    begun = -torch.expm1(blank) * inside
    kept = torch.logsumexp(signs[:, 1:] + signs[:, :-1], dim=-1).exp() * inside[:, 1:]
    counts = [
        (inside & ~best).sum(),
        inside.sum(),
        (inside.any(dim=1) & ~best.any(dim=1)).sum(),
        (inside.any(dim=1) & ~spoken.any(dim=1)).sum(),
        inside.any(dim=1).sum(),
        begun.sum() - kept.sum(),
        target_lengths.sum(),
    ]
    return torch.stack([count.float() for count in counts])


class Watch(BaseModel):
    """What is remembered of a training to tell whether it is in a collapse.

    Attributes:
        silent: share of silent sequences, of the last epochs in which CTC had a say.
        raises: how often the learning rate was raised.
    """

    model_config = ConfigDict(frozen=True)

    silent: tuple[float, ...] = ()
    raises: int = 0

    def after(self, posteriors: Posteriors, length: int) -> "Watch":
        """What is remembered after one more epoch in which CTC had a say.

        Args:
            posteriors: what was seen in it.
            length: of the watch.
        """
        return self.model_copy(update={"silent": (*self.silent, posteriors.silent)[-length:]})

    def collapsed(self, length: int) -> bool:
        """Whether the model was in a collapse all through a watch of this length, and stays there."""
        seen = self.silent
        return len(seen) == length and min(seen) >= SILENT and seen[0] - seen[-1] < FALL

    def raised(self) -> "Watch":
        """What is remembered when something was done: it is given time."""
        return Watch(raises=self.raises + 1)


def watch_length(epochs: int, steps: int) -> int:
    """How many epochs a watch lasts: of so many planned ones, of so many steps each."""
    return max(SHORTEST_WATCH, round(WATCH * epochs), -(-FEWEST_STEPS // steps)) + 1

"""An estimator of your own: rewards against a trimmed mean, so that one outlier does not move the whole group.

    cd examples
    rsgrpo train --estimator own_estimator:trimmed --set advantage.share=0.2 --steps 20 --run trimmed
    rsgrpo advantage --run trimmed --compare dr_grpo,own_estimator:trimmed:share=0.2

The function gets the rewards of one group, a float64 array, and returns an advantage for each. Its keyword arguments
are its settings; config.json holds their values. Editing this file is noticed when the run resumes, because the hash of
its text is part of what the advantages were made with.
"""

import numpy as np
from numpy.typing import NDArray


def trimmed(rewards: NDArray[np.float64], *, share: float = 0.25) -> NDArray[np.float64]:
    """Centre the rewards of a group on the mean of its middle.

    Args:
        rewards: Of one group, shape (G,), all finite; completions without a reward are not among them.
        share: How much of the group to leave out of the mean at either end, below 0.5.

    Returns:
        Advantages, shape (G,).

    Raises:
        ValueError: If nothing would be left. The command then stops with this message, the group and the line.
    """
    if not 0 <= share < 0.5:
        raise ValueError(f"share must be at least 0 and below 0.5, not {share}")
    out = int(share * rewards.size)
    middle = np.sort(rewards)[out : rewards.size - out]
    return rewards - float(middle.mean())

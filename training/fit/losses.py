"""What a network is asked for: classes that may be left open, opacities where a radiologist drew them, and an order.

All three are functions of the network's evidence map and of the logits that follow from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


def opacity(evidence: Any) -> Any:
    """``(..., classes)`` evidence, class 0 being the one without a finding -> the logit of any other, ``(...)``.

    Equal evidence for all classes gives 0.
    """
    others = evidence[..., 1:]
    return tf.reduce_logsumexp(others, -1) - np.float32(np.log(max(1, others.shape[-1]))) - evidence[..., 0]


def open_cross_entropy(logits: Any, allowed: Any, smoothing: float) -> Any:
    """Minus the log of the probability that the allowed classes have together, mean over the radiographs with a label.

    A radiograph whose label leaves classes open, as "pneumonia or covid", is satisfied however the network divides the
    probability among them; one that allows every class has no label.

    Args:
        logits: ``(n, classes)``.
        allowed: ``(n, classes)`` float, 1 for what the label allows.
        smoothing: share of the target that is spread over all classes (Szegedy et al., CVPR 2016).
    """
    log = tf.nn.log_softmax(logits)
    log_allowed = tf.reduce_logsumexp(log + tf.math.log(allowed + 1e-9), -1)
    loss = -(1 - smoothing) * log_allowed - smoothing * tf.reduce_mean(log, -1)
    return _mean_over(loss, tf.reduce_sum(allowed, -1) < allowed.shape[-1] - 0.5)


def map_cross_entropy(evidence: Any, covered: Any, mapped: Any) -> Any:
    """Binary cross entropy of the local opacity against the share of each place that lies in a drawn box.

    Where the boxes may not be all there are, only the places that touch one count.

    Args:
        evidence: ``(n, h, w, classes)``.
        covered: ``(n, h, w)``, 0 to 1.
        mapped: ``(n,)``, 1 for radiographs whose opacities are known.
    """
    local = tf.nn.sigmoid_cross_entropy_with_logits(labels=covered, logits=opacity(evidence))
    known = tf.logical_or(mapped[:, None, None] > 0, covered > 0)
    return _mean_over(local, known)


def ranking(evidence: Any, severity: Any, sharpness: float = 2.0) -> Any:
    """Logistic loss on pairs of radiographs that a reader graded apart (RankNet, Burges et al., ICML 2005).

    Only the order within one source counts, so nothing is learnt from how the source looks. The network's score
    of a radiograph is the logit of its mean local probability of an opacity.

    Args:
        evidence: ``(n, h, w, classes)``.
        severity: ``(n,)`` grades; negative where there is none.
        sharpness: of the logistic function.
    """
    share = tf.clip_by_value(tf.reduce_mean(tf.sigmoid(opacity(evidence)), (1, 2)), 1e-4, 1 - 1e-4)
    score = tf.math.log(share) - tf.math.log(1 - share)
    difference = severity[:, None] - severity[None]
    graded = tf.logical_and(severity[:, None] >= 0, severity[None] >= 0)
    weight = tf.where(tf.logical_and(graded, difference > 0.4), tf.minimum(difference, 3.0), 0.0)
    loss = tf.nn.softplus(-sharpness * (score[:, None] - score[None]))
    return tf.math.divide_no_nan(tf.reduce_sum(weight * loss), tf.reduce_sum(weight))


def _mean_over(values: Any, chosen: Any) -> Any:
    weight = tf.cast(chosen, values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(weight * values), tf.reduce_sum(weight))

"""Balls around neighbours as they would be without each group of rows: for the jackknife, in the same one pass.

Without group g, a row's k-th nearest neighbour is the first of its neighbours that k of the others precede or equal:
its rank q is k, or a little more where neighbours of g have gone. So no distance is computed again; it is enough to
know, for every row and group, the rank q whose ball counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.distances import IntArray

SPARE = 5  # neighbours beyond the k-th that are known; that more of them share a group happens to one row in 10,000


class WithoutEachGroup:
    """Which visitors lie in some ball, which balls hold a visitor, and how many pairs there are, without each group.

    Parameters
    ----------
    nearest_k
        Whose balls.
    border
        Whether a row on the border is inside.
    neighbours : (U, K)
        The neighbours of each ball's centre (its "owner"), nearest first.
    of_owners, of_visitors
        Group of each distinct row; multiplicity of each.
    """

    def __init__(
        self,
        nearest_k: int,
        border: bool,
        neighbours: IntArray,
        of_owners: tuple[IntArray, IntArray],
        of_visitors: tuple[IntArray, IntArray],
    ) -> None:
        self.nearest_k, self.border = nearest_k, border
        (self._owner_group, self._owner_weight), (self._visitor_group, self._visitor_weight) = of_owners, of_visitors
        self._groups = 1 + int(max(self._owner_group.max(), self._visitor_group.max()))
        self._rank = _ranks_without(self._owner_group[neighbours], nearest_k, self._groups)  # (U, G)
        self.largest_rank: IntArray = self._rank.max(axis=1)
        shape = len(self._visitor_group), self._groups
        self._balls_of_visitor = np.zeros(shape, np.intp)  # by the owner's group, at rank k
        self._visitor_reached = np.zeros(shape, bool)  # without that group, by a ball that has grown
        shape = len(self._owner_group), self._groups
        self._visitors_of_ball = np.zeros(shape, np.intp)  # by the visitor's group
        self._ball_reached = np.zeros(shape, bool)
        self._pairs = np.zeros((self._groups, self._groups))  # by owner's and visitor's group, at rank k
        self._grown_pairs = np.zeros(self._groups)  # without that group, by balls that have grown

    def update(self, rank: IntArray, visitor: IntArray, owner: IntArray) -> None:
        """Take in pairs: the smallest rank whose ball of ``owner`` holds ``visitor``."""
        some = rank <= self.largest_rank[owner]
        rank, visitor, owner = rank[some], visitor[some], owner[some]
        inside = rank <= self.nearest_k
        self._update_inside(visitor[inside], owner[inside])
        self._update_grown(rank[~inside], visitor[~inside], owner[~inside])

    def _update_inside(self, visitor: IntArray, owner: IntArray) -> None:
        of_owner, of_visitor = self._owner_group[owner], self._visitor_group[visitor]
        _count(self._balls_of_visitor, visitor, of_owner)
        _count(self._visitors_of_ball, owner, of_visitor)
        weight = self._owner_weight[owner] * self._visitor_weight[visitor]
        cell = of_owner * self._groups + of_visitor
        self._pairs += np.bincount(cell, weights=weight, minlength=self._pairs.size).reshape(self._pairs.shape)

    def _update_grown(self, rank: IntArray, visitor: IntArray, owner: IntArray) -> None:
        pair, group = np.nonzero(rank[:, None] <= self._rank[owner])
        visitor, owner = visitor[pair], owner[pair]
        there = (group != self._owner_group[owner]) & (group != self._visitor_group[visitor])
        visitor, owner, group = visitor[there], owner[there], group[there]
        self._visitor_reached[visitor, group] = True
        self._ball_reached[owner, group] = True
        weight = self._owner_weight[owner] * self._visitor_weight[visitor]
        self._grown_pairs += np.bincount(group, weights=weight, minlength=self._groups)

    def share_of_visitors(self) -> FloatArray:
        """(G,) share of the visitors that lie in some ball."""
        held = self._balls_of_visitor.sum(axis=1)[:, None] > self._balls_of_visitor
        return _share(held | self._visitor_reached, self._visitor_group, self._visitor_weight)

    def share_of_balls(self) -> FloatArray:
        """(G,) share of the balls that hold some visitor."""
        holding = self._visitors_of_ball.sum(axis=1)[:, None] > self._visitors_of_ball
        return _share(holding | self._ball_reached, self._owner_group, self._owner_weight)

    def pairs_per_visitor(self) -> FloatArray:
        """(G,) pairs of a visitor and a ball that holds it, divided by the number of visitors."""
        left = self._pairs.sum() - self._pairs.sum(axis=0) - self._pairs.sum(axis=1) + np.diagonal(self._pairs)
        total = np.bincount(self._visitor_group, weights=self._visitor_weight, minlength=self._groups)
        pairs: FloatArray = (left + self._grown_pairs) / (total.sum() - total)
        return pairs


def _ranks_without(of_neighbours: IntArray, nearest_k: int, num_groups: int) -> IntArray:
    """(U, G) smallest rank up to which ``nearest_k`` neighbours are not of each group; at most the last known one."""
    most = of_neighbours.shape[1]
    ranks = np.empty((len(of_neighbours), num_groups), np.intp)
    for group in range(num_groups):
        enough = np.cumsum(of_neighbours != group, axis=1) >= nearest_k
        ranks[:, group] = np.where(enough[:, -1], enough.argmax(axis=1) + 1, most)
    return ranks


def _count(counts: IntArray, row: IntArray, group: IntArray) -> None:
    """Add 1 at each (row, group). Few rows of a large table are touched at a time."""
    touched, slot = np.unique(row, return_inverse=True)
    cells = slot * counts.shape[1] + group
    counts[touched] += np.bincount(cells, minlength=len(touched) * counts.shape[1]).reshape(len(touched), -1)


def _share(holds: NDArray[np.bool_], group: IntArray, weight: IntArray) -> FloatArray:
    """(G,) weighted share of the rows that are not of a group and for which its column holds."""
    weights = np.repeat(weight[:, None].astype(np.float64), holds.shape[1], axis=1)
    weights[np.arange(len(group)), group] = 0
    share: FloatArray = (weights * holds).sum(axis=0) / weights.sum(axis=0)
    return share

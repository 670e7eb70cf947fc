"""How many pairs of a row and a ball that holds it there are without each of some groups of rows: for the jackknife of
density, in the one pass over all pairs.

Without group g, a row's k-th nearest neighbour is the first of its neighbours that k of the others precede or equal:
its rank q is k, or a little more where neighbours of g have gone. So no distance is computed again; it is enough to
know, for every row and group, the rank q whose ball counts.
"""

from __future__ import annotations

import numpy as np

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.distances import IntArray

SPARE = 5  # neighbours beyond the k-th that are known; that more of them share a group happens to one row in 10,000


class PairsWithoutEachGroup:
    """Counts pairs of a visitor and a ball around an owner that holds it.

    Parameters
    ----------
    nearest_k
        Whose balls.
    border
        Whether a row on the border is inside.
    neighbours : (U, K)
        The neighbours of each owner, nearest first.
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
        self._pairs = np.zeros((self._groups, self._groups))  # by owner's and visitor's group, at rank k
        self._more = np.zeros(self._groups)  # without that group, in balls that have grown

    def update(self, rank: IntArray, visitor: IntArray, owner: IntArray) -> None:
        """Take in pairs: the smallest rank whose ball of ``owner`` holds ``visitor``."""
        some = rank <= self.largest_rank[owner]
        rank, visitor, owner = rank[some], visitor[some], owner[some]
        of_owner, of_visitor = self._owner_group[owner], self._visitor_group[visitor]
        weight = self._owner_weight[owner] * self._visitor_weight[visitor]

        inside = rank <= self.nearest_k
        cell = of_owner[inside] * self._groups + of_visitor[inside]
        self._pairs += np.bincount(cell, weight[inside], minlength=self._pairs.size).reshape(self._pairs.shape)

        outside = np.flatnonzero(~inside)
        pair, group = np.nonzero(rank[outside, None] <= self._rank[owner[outside]])
        pair = outside[pair]
        there = (group != of_owner[pair]) & (group != of_visitor[pair])
        self._more += np.bincount(group[there], weight[pair[there]], minlength=self._groups)

    def per_visitor(self) -> FloatArray:
        """(G,) pairs, divided by the number of visitors, without each group."""
        left = self._pairs.sum() - self._pairs.sum(axis=0) - self._pairs.sum(axis=1) + np.diagonal(self._pairs)
        total = np.bincount(self._visitor_group, self._visitor_weight, minlength=self._groups)
        pairs: FloatArray = (left + self._more) / (total.sum() - total)
        return pairs


def _ranks_without(of_neighbours: IntArray, nearest_k: int, num_groups: int) -> IntArray:
    """(U, G) smallest rank up to which ``nearest_k`` neighbours are not of each group; at most the last known one."""
    most = of_neighbours.shape[1]
    ranks = np.empty((len(of_neighbours), num_groups), np.intp)
    for group in range(num_groups):
        enough = np.cumsum(of_neighbours != group, axis=1) >= nearest_k
        ranks[:, group] = np.where(enough[:, -1], enough.argmax(axis=1) + 1, most)
    return ranks

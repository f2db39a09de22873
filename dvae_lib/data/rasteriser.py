"""A batched triangle rasteriser in plain torch, the same to the bit for any batch size on the CPU.

Nothing here sums in an order that could change: pixels are won by a maximum, and everything else
is arithmetic element by element.
"""

import torch
from torch import Tensor

# Square pixels of doubled area: samples on an edge shared by two triangles belong to both, so that
# rounding leaves no cracks; the nearer one wins.
TOLERANCE = 1e-4


def rasterise(points: Tensor, triangles: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The triangle in front at every pixel centre, and the pixel's place in it.

    points: float32 (B, 3, V), rows x (right) and y (down) in pixels, with pixel centres at +0.5,
    and the inverse of the distance from the camera, which is positive. triangles: int64 (F, 3);
    those whose corners run clockwise on the screen are seen, the others face away. size: pixels of
    a side.

    Returns triangle int64 (B, size, size), -1 where there is none, and weights float32
    (B, size, size, 3), the shares of its corners, corrected for perspective, which sum to 1.
    """
    batch, n_triangles = len(points), len(triangles)
    image, face, corners = _facing(points, triangles)
    winners = torch.zeros(batch * size * size, dtype=torch.int64, device=points.device)
    for pixel, rows, depth in _covered(corners, size):
        # Positive floats are ordered as their bits are; among equals the first triangle wins.
        key = (depth.view(torch.int32).long() << 32) | (n_triangles - _take(face, rows))
        winners.scatter_reduce_(0, _take(image, rows) * size * size + pixel, key, "amax")
    triangle = torch.where(winners > 0, n_triangles - (winners & 0xFFFFFFFF), -1)
    return triangle.view(batch, size, size), _weights(points, triangles, triangle, size)


def interpolate(values: Tensor, triangles: Tensor, triangle: Tensor, weights: Tensor) -> Tensor:
    """Values of vertices (B, C, V) at every pixel: (B, C, H, W), 0 where there is no triangle."""
    batch, channels, n_vertices = values.shape
    height, width = triangle.shape[1:]
    hit, corners = _corners_at(triangles, triangle.flatten(), height * width, n_vertices)
    shares = [_take(share, hit) for share in weights.view(-1, 3).T.contiguous()]
    result = values.new_zeros(channels, batch * height * width)
    for channel, into in zip(values.unbind(1), result, strict=True):
        flat = channel.flatten()
        at = [_take(flat, corner) * share for corner, share in zip(corners, shares, strict=True)]
        into[hit] = at[0] + at[1] + at[2]
    return result.view(channels, batch, height, width).transpose(0, 1).contiguous()


def _take(values, index):
    """values[index] for vectors: on the CPU ten times as fast as the brackets."""
    return values.index_select(0, index)


def _flat(points):
    """Coordinates x, y and inverse distance of all images' vertices, one after another (B V,)."""
    return [row.flatten() for row in points.unbind(1)]


def _facing(points, triangles):
    """Of all triangles those turned to the camera: image (M,), face (M,), corners 3 x (3, M)."""
    n_vertices, columns = points.shape[2], triangles.T.contiguous()
    x, y = ([row.index_select(1, column) for column in columns] for row in points.unbind(1)[:2])
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    found = (area > 0).flatten().nonzero().squeeze(1)
    image, face = found // len(triangles), found % len(triangles)
    at = [image * n_vertices + _take(column, face) for column in columns]
    return image, face, [torch.stack([_take(row, k) for k in at]) for row in _flat(points)]


def _covered(corners, size):
    """Yield (pixel, triangle, depth) of the samples inside, for each size of bounding box."""
    x, y, _ = corners
    left, top = ((axis.amin(0) - 0.5).ceil().clamp(min=0) for axis in (x, y))
    right, bottom = ((axis.amax(0) - 0.5).floor().clamp(max=size - 1) for axis in (x, y))
    width, height = right - left + 1, bottom - top + 1
    # Triangles between the pixel centres, or out of the picture, have no box.
    boxes = torch.where((width > 0) & (height > 0), width * (size + 1) + height, 0).int()
    order = boxes.argsort(stable=True)
    kinds, counts = torch.unique_consecutive(_take(boxes, order), return_counts=True)
    for kind, rows in zip(kinds.tolist(), order.split(counts.tolist()), strict=True):
        if kind == 0:
            continue
        box = divmod(kind, size + 1)
        corner = (_take(left, rows), _take(top, rows))
        inside = _inside([axis.index_select(1, rows) for axis in corners], corner, box, size)
        yield inside[0], _take(rows, inside[1]), inside[2]


def _inside(corners, corner, box, size):
    """Samples of boxes that lie in their triangles: pixel (S,), row of corners (S,), depth (S,).

    corners: x, y and inverse distance (3, M); corner: left and top sample (M,) of the boxes, whose
    width and height are `box`.
    """
    x, y, depth = (axis[..., None, None] for axis in corners)
    across, down = (torch.arange(length, device=x.device) for length in box)
    px, py = corner[0][:, None, None] + across + 0.5, corner[1][:, None, None] + down[:, None] + 0.5
    edges = [_edge(x, y, i, j, px, py) for i, j in ((1, 2), (2, 0), (0, 1))]
    found = torch.minimum(torch.minimum(edges[0], edges[1]), edges[2]) >= -TOLERANCE
    found = found.flatten().nonzero().squeeze(1)
    row, place = found // (box[0] * box[1]), found % (box[0] * box[1])
    share = [_take(edge.flatten(), found) for edge in edges]
    near = [part * _take(corners[2][k], row) for k, part in enumerate(share)]
    near = (near[0] + near[1] + near[2]) / (share[0] + share[1] + share[2])
    line, column = place // box[0], place % box[0]
    first = corner[1].long() * size + corner[0].long()
    return _take(first, row) + line * size + column, row, near


def _edge(x, y, i, j, px, py):
    """Doubled area of a point with the edge from corner i to j, positive inside."""
    return (x[j] - x[i]) * (py - y[i]) - (y[j] - y[i]) * (px - x[i])


def _corners_at(triangles, triangle, n_pixels, n_vertices):
    """Pixels (S,) with a triangle, and its three corners, counted over all images."""
    hit = (triangle >= 0).nonzero().squeeze(1)
    face = _take(triangle, hit)
    start = hit // n_pixels * n_vertices
    return hit, [start + _take(column, face) for column in triangles.T.contiguous()]


def _weights(points, triangles, triangle, size):
    """Shares of the corners at pixel centres: areas on the screen times the inverse distance."""
    hit, corners = _corners_at(triangles, triangle, size * size, points.shape[2])
    x, y, depth = ([_take(row, corner) for corner in corners] for row in _flat(points))
    px, py = hit % size + 0.5, hit // size % size + 0.5
    share = [
        _edge(x, y, i, j, px, py).clamp(min=0) * depth[k]
        for k, i, j in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    ]
    total = share[0] + share[1] + share[2]
    weights = points.new_zeros(len(triangle), 3)
    weights[hit] = torch.stack([part / total for part in share], 1)
    return weights.view(len(points), size, size, 3)

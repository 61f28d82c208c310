import torch

from semcycle.methods.image_pool import ImagePool


def images(*values):
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1)


def test_without_a_size_every_batch_passes_and_nothing_is_drawn():
    pool, fresh = ImagePool(0), torch.ones(3, 1, 2, 2, requires_grad=True)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    shown = pool(fresh * 2)
    assert torch.equal(shown, torch.full((3, 1, 2, 2), 2.0))
    assert not shown.requires_grad
    assert torch.equal(torch.get_rng_state(), before)
    assert pool.images.numel() == 0


def test_the_pool_fills_before_it_gives_anything_back():
    pool = ImagePool(4)
    assert torch.equal(pool(images(1, 2, 3)), images(1, 2, 3))
    assert torch.equal(pool.images, images(1, 2, 3))


def test_half_of_the_images_shown_are_older_ones_and_make_room():
    torch.manual_seed(0)
    pool = ImagePool(50)
    pool(images(*range(50)))
    old, shown_old = set(range(50)), 0
    for start in range(50, 1050, 10):
        fresh = images(*range(start, start + 10))
        shown = pool(fresh)
        assert shown.shape == fresh.shape
        changed = shown.flatten() != fresh.flatten()
        shown_old += int(changed.sum())
        values = [int(value) for value in shown.flatten()[changed]]
        assert all(value < start + 10 for value in values)
        assert len(pool.images) == 50
        held = {int(value) for value in pool.images.flatten()}
        assert not held & {value for value in values if values.count(value) == 1}  # what was shown has left the pool
        old |= held
    assert 420 < shown_old < 580


def test_it_is_no_part_of_the_weights_but_moves_with_the_module():
    pool = ImagePool(2)
    pool(images(1, 2))
    assert pool.state_dict() == {}
    assert dict(pool.named_buffers()).keys() == {"images"}
    assert pool.double().images.dtype == torch.float64

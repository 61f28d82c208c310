"""Networks: parameter counts, sizes, receptive fields, output ranges and errors."""

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from semcycle.methods.cycle import SynthesisSettings
from semcycle.methods.networks.blocks import ResidualBlock, init_weights, make_norm
from semcycle.methods.networks.discriminators import DISCRIMINATORS, PatchGAN, PixelDiscriminator
from semcycle.methods.networks.generators import GENERATORS, CycleGANGenerator, JohnsonGenerator, Pix2PixUNet128
from semcycle.methods.networks.unet import UNet

NORMS = ["batch", "instance", "group", "none"]


def count_parameters(make, *args, **keywords):
    with torch.device("meta"):
        network = make(*args, **keywords)
    return sum(p.numel() for p in network.parameters())


def shape_on_meta(make, shape):
    with torch.device("meta"):
        return tuple(make()(torch.empty(shape)).shape)


def measure_field(network: nn.Module, channels: int, size: int) -> tuple[int, int]:
    """Height and width of what the centre of the output depends on."""
    network = network.double()
    for p in network.parameters():  # positive everywhere, so that no ReLU is shut and nothing cancels
        nn.init.constant_(p, 1.0)
        p.data /= max(p[0].numel() if p.dim() > 1 else 1, 1)
    x = torch.rand(1, channels, size, size, dtype=torch.float64, requires_grad=True)
    y = network(x)
    y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()
    assert x.grad is not None
    rows, columns = x.grad[0].abs().sum(dim=0).nonzero(as_tuple=True)
    assert rows.min() > 0  # not cut off by the border
    assert rows.max() < size - 1
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


class TestCounts:
    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({"base": 16}, 1_942_340),
            ({"base": 32}, 7_762_564),
            ({"base": 64}, 31_036_676),
            ({"base": 64, "dropout": 0.5}, 31_036_676),
            ({"base": 64, "classes": 3}, 31_036_611),
            ({"base": 64, "norm": "none"}, 31_030_788),
            ({"base": 64, "norm": "group"}, 31_036_676),
            ({"base": 64, "norm": "instance"}, 31_036_676),
        ],
    )
    def test_unet(self, settings, expected):
        assert count_parameters(UNet, **settings) == expected

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, 1_674_049),
            ({"in_channels": 4}, 1_676_641),
            ({"out_channels": 3}, 1_679_235),
            ({"padding": "reflect_start"}, 1_674_049),
            ({"upsample": "nearest"}, 1_674_049),
            ({"norm": "instance"}, 1_674_049),
        ],
    )
    def test_johnson(self, settings, expected):
        assert count_parameters(JohnsonGenerator, **settings) == expected

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, 7_831_425),
            ({"in_channels": 4}, 7_834_561),
            ({"blocks": 9}, 11_371_905),
            ({"blocks": 9, "out_channels": 3}, 11_378_179),
        ],
    )
    def test_cyclegan(self, settings, expected):
        assert count_parameters(CycleGANGenerator, **settings) == expected

    def test_pix2pix(self):
        # the widely quoted 54.414 M and 41.829 M for 3 -> 3 channels are without these 64 + 512 biases of the
        # two encoder layers that no norm follows
        assert count_parameters(Pix2PixUNet128, downs=8, out_channels=3) == 54_413_955 + 576
        assert count_parameters(Pix2PixUNet128, out_channels=3) == 41_828_995 + 576
        assert count_parameters(Pix2PixUNet128) == 41_828_995 + 576 - 2 * 2 * (16 * 128 // 2) - 2

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, 2_762_689),
            ({"in_channels": 3}, 2_764_737),
            ({"in_channels": 4}, 2_765_761),
            ({"in_channels": 5}, 2_766_785),
            ({"norm": "batch"}, 2_763_585),
            ({"norm": "batch", "in_channels": 4}, 2_766_657),
            ({"norm": "batch", "in_channels": 6}, 2_768_705),
            ({"norm": "group"}, 2_763_585),
            ({"norm": "none"}, 2_762_689),
            ({"layers": 2}, 660_929),
            ({"layers": 1}, 134_337),
        ],
    )
    def test_patchgan(self, settings, expected):
        assert count_parameters(PatchGAN, **settings) == expected

    def test_pixel(self):
        # 1*64 + 64, 64*128 + 128, 128*1 + 1
        assert count_parameters(PixelDiscriminator) == 128 + 8320 + 129
        assert count_parameters(PixelDiscriminator, norm="batch") == 128 + 8192 + 256 + 129


class TestShapes:
    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("poolings", [1, 4])
    def test_unet(self, norm, poolings):
        logits = UNet(2, 3, 4, norm, dropout=0.1, poolings=poolings)(torch.rand(2, 2, 32, 48))
        assert logits.shape == (2, 3, 32, 48)

    def test_unet_at_full_size(self):
        assert shape_on_meta(UNet, (2, 1, 128, 128)) == (2, 4, 128, 128)

    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("name", GENERATORS)
    def test_generators(self, name, norm):
        network = GENERATORS[name](4, base=4, norm=norm)
        assert network(torch.rand(2, 4, 128, 128)).shape == (2, 1, 128, 128)

    @pytest.mark.parametrize("upsample", ["deconv", "nearest"])
    @pytest.mark.parametrize("padding", ["reflect", "zero", "replicate", "reflect_start"])
    def test_johnson_options(self, padding, upsample):
        network = JohnsonGenerator(base=2, padding=padding, upsample=upsample)
        assert network(torch.rand(1, 3, 48, 64)).shape == (1, 1, 48, 64)

    def test_johnson_reflects_at_the_start(self):
        widths = []
        with torch.device("meta"):
            network = JohnsonGenerator(padding="reflect_start")
            for part in (network.start, *network.down, *network.blocks, *network.up):
                part.register_forward_hook(lambda _, inputs, output: widths.append(output.shape[-1]))
            network(torch.empty(1, 3, 128, 128))
        assert widths == [208, 208, 104, 52, 48, 44, 40, 36, 32, 64, 128]

    @pytest.mark.parametrize(("layers", "side"), [(1, 62), (2, 30), (3, 14)])
    def test_patchgan(self, layers, side):
        assert shape_on_meta(lambda: PatchGAN(layers=layers), (2, 1, 128, 128)) == (2, 1, side, side)
        assert shape_on_meta(lambda: PatchGAN(layers=layers), (2, 1, 256, 256))[-1] == 2 * side + 2

    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("name", DISCRIMINATORS)
    def test_discriminators(self, name, norm):
        network = DISCRIMINATORS[name](4, base=4, norm=norm)
        assert network(torch.rand(2, 4, 64, 48)).shape == {"patchgan": (2, 1, 6, 4), "pixel": (2, 1, 64, 48)}[name]

    @pytest.mark.parametrize("layers", [1, 3, 5])
    def test_smallest_patchgan_input(self, layers):
        network = PatchGAN(base=2, layers=layers)
        assert network(torch.rand(1, 1, 3 * 2**layers, 3 * 2**layers)).shape == (1, 1, 1, 1)


def receptive_field(layers):
    """Side of the patch that one logit of PatchGAN sees."""
    field = 7  # the two unstrided 4x4 convolutions at the end
    for _ in range(layers):
        field = 2 * (field - 1) + 4
    return field


class TestReceptiveField:
    def test_formula(self):
        assert [receptive_field(n) for n in range(1, 6)] == [16, 34, 70, 142, 286]

    @pytest.mark.parametrize("layers", [1, 2, 3, 4])
    def test_patchgan(self, layers):
        field = receptive_field(layers)
        assert measure_field(PatchGAN(base=1, layers=layers, norm="none"), 1, 256) == (field, field)

    @pytest.mark.parametrize(
        ("network", "field"),
        [
            (JohnsonGenerator(base=1, norm="none", output="none"), 103),
            (CycleGANGenerator(base=1, norm="none", output="none"), 117),
            (CycleGANGenerator(base=1, norm="none", output="none", blocks=9), 165),
        ],
    )
    def test_generators(self, network, field):
        assert measure_field(network, 3, 200) == (field, field)


class TestValues:
    @pytest.mark.parametrize("output", ["sigmoid", "tanh", "none"])
    @pytest.mark.parametrize("name", GENERATORS)
    def test_output_range(self, name, output):
        torch.manual_seed(0)
        network = GENERATORS[name](base=2, output=output)
        network.head.register_forward_hook(lambda module, inputs, out: 30 * (out - out.mean()) / out.std())
        image = network(torch.rand(2, 3, 128, 128))
        if output == "none":
            assert image.min() < 0
            assert image.max() > 1
        else:
            assert 0 <= image.min() < 0.01
            assert 0.99 < image.max() <= 1

    def test_tanh_is_in_image_units(self):
        raw, unit = (JohnsonGenerator(base=2, output=output).eval() for output in ("none", "tanh"))
        unit.load_state_dict(raw.state_dict())
        x = torch.rand(1, 3, 16, 16)
        torch.testing.assert_close(unit(x), (raw(x).tanh() + 1) / 2)

    def test_residual_block_crops_its_skip(self):
        block = ResidualBlock(1, "none", mode=None)
        for p in block.parameters():
            nn.init.zeros_(p)
        x = torch.arange(49.0).view(1, 1, 7, 7)
        assert torch.equal(block(x), x[..., 2:5, 2:5])

    def test_paddings_differ_only_at_the_border(self):
        zero, reflect = (JohnsonGenerator(base=2, norm="none", padding=p, blocks=1) for p in ("zero", "reflect"))
        reflect.load_state_dict(zero.state_dict())
        x = torch.rand(1, 3, 96, 96)
        difference = (zero(x) - reflect(x)).abs()
        assert difference.max() > 0
        assert difference[..., 40:56, 40:56].max() < 1e-6

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", NORMS)
    def test_all_parameters_learn(self, kind):
        torch.manual_seed(0)
        networks = [UNet(1, 4, 4, kind), *(make(1, base=4, norm=kind) for make in DISCRIMINATORS.values())]
        for network in networks:
            network(torch.rand(2, 1, 64, 64)).square().sum().backward()
            assert all(p.grad is not None for p in network.parameters())
        for name in GENERATORS:
            network = GENERATORS[name](3, base=2, norm=kind)
            network(torch.rand(2, 3, 128, 128)).sum().backward()
            assert all(p.grad is not None for p in network.parameters())

    @pytest.mark.slow
    def test_dropout_acts_in_training_only(self):
        network = UNet(base=4, norm="none", dropout=0.5)
        x = torch.rand(2, 1, 32, 32)
        assert not torch.equal(network(x), network(x))
        network.eval()
        assert torch.equal(network(x), network(x))

    def test_dropout_keeps_the_names_of_the_weights(self):
        assert UNet(base=4).state_dict().keys() == UNet(base=4, dropout=0.5).state_dict().keys()

    def test_channels_last_gives_the_same(self):
        x = torch.rand(2, 3, 16, 16)
        network = JohnsonGenerator(base=4).eval()
        expected = network(x)
        network.to(memory_format=torch.channels_last)
        torch.testing.assert_close(network(x.to(memory_format=torch.channels_last)), expected)


class TestNorms:
    @pytest.mark.parametrize(("channels", "groups"), [(1, 1), (4, 1), (6, 1), (8, 2), (12, 1), (16, 4), (64, 8)])
    def test_groups_divide_channels(self, channels, groups):
        norm = make_norm("group", channels)
        assert isinstance(norm, nn.GroupNorm)
        assert norm.num_groups == groups

    def test_instance_affine_is_a_choice(self):
        assert not list(make_norm("instance", 4).parameters())
        assert len(list(make_norm("instance", 4, instance_affine=True).parameters())) == 2
        assert len(list(make_norm("group", 4).parameters())) == 2

    def test_instance_normalises_each_map(self):
        y: Tensor = make_norm("instance", 2)(3 + 5 * torch.rand(2, 2, 32, 32))
        torch.testing.assert_close(y.mean(dim=(2, 3)), torch.zeros(2, 2), atol=1e-5, rtol=0)
        torch.testing.assert_close(y.std(dim=(2, 3)), torch.ones(2, 2), atol=1e-2, rtol=0)


class TestInit:
    def test_distributions(self):
        torch.manual_seed(0)
        network = init_weights(PatchGAN(norm="batch"), std=0.02)
        for part in network.modules():
            if isinstance(part, nn.Conv2d):
                assert part.weight.std().item() == pytest.approx(0.02, rel=0.1)
                assert part.bias is None or not part.bias.any()
            elif isinstance(part, nn.BatchNorm2d):
                assert part.weight.mean().item() == pytest.approx(1, abs=0.01)
                assert part.weight.std().item() == pytest.approx(0.02, rel=0.3)
                assert not part.bias.any()

    @pytest.mark.parametrize("norm", NORMS)
    def test_same_seed_same_weights(self, norm):
        weights = []
        for _ in range(2):
            torch.manual_seed(3)
            weights.append(
                nn.utils.parameters_to_vector(init_weights(JohnsonGenerator(base=4, norm=norm)).parameters())
            )
        assert torch.equal(*weights)


class TestChoices:
    def test_recipes_may_name_every_network(self):
        fields = SynthesisSettings.model_fields
        assert get_args(fields["generator"].annotation) == tuple(GENERATORS)
        assert get_args(fields["discriminator"].annotation) == tuple(DISCRIMINATORS)


class TestErrors:
    def test_unet_says_what_to_pad_to(self):
        with pytest.raises(ValueError, match=r"multiples of 16 .* got 120x130; pad the slices to 128x144"):
            UNet(base=2)(torch.rand(1, 1, 120, 130))

    def test_generators_say_what_to_pad_to(self):
        with pytest.raises(ValueError, match=r"got 126x128; pad the slices to 128x128"):
            JohnsonGenerator(base=2)(torch.rand(1, 3, 126, 128))
        with pytest.raises(ValueError, match=r"got 126x128; pad the slices to 128x128"):
            CycleGANGenerator(base=2)(torch.rand(1, 3, 126, 128))
        with pytest.raises(ValueError, match=r"multiples of 128 .* pad the slices to 128x256"):
            Pix2PixUNet128(base=2)(torch.rand(1, 3, 96, 192))
        with pytest.raises(ValueError, match=r"at least 41, got 40x40; pad the slices to 44x44"):
            JohnsonGenerator(base=2, padding="reflect_start")(torch.rand(1, 3, 40, 40))

    def test_patchgan_needs_room(self):
        with pytest.raises(ValueError, match=r"at least 24x24 pixels for 3 layers, got 23x64"):
            PatchGAN(base=2)(torch.rand(1, 1, 23, 64))

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: JohnsonGenerator(padding="mirror"), "padding: expected one of reflect, zero"),
            (lambda: JohnsonGenerator(base=2, upsample="cubic"), "upsample: expected one of deconv, nearest"),
            (lambda: JohnsonGenerator(base=2, output="relu"), "output: expected one of sigmoid, tanh, none"),
            (lambda: UNet(base=2, norm="layer"), "norm: expected one of batch, instance, group, none"),
            (lambda: UNet(poolings=0), "at least 1 pooling"),
            (lambda: PatchGAN(layers=0), "at least 1 strided layer"),
            (lambda: Pix2PixUNet128(downs=1), "at least 2 strided layers"),
        ],
    )
    def test_wrong_settings_are_refused(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()

"""The recurrent encoder-decoder."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import zoo
from datamodules.interface.batches import TranslationBatch
from tests.zoo.models import count
from zoo.rnn.seq2seq import GRUDecoder, GRUEncoder

LENGTHS = torch.tensor([5, 2, 7, 1, 7, 3])


def sentences(seed: int = 0) -> Tensor:
    """Ids without any padding, so that what lies behind the lengths is garbage."""
    return torch.randint(20, (len(LENGTHS), 7), generator=torch.Generator().manual_seed(seed))


def encoder(bidirectional: bool = False) -> GRUEncoder:
    return GRUEncoder(
        20, embed_dim=5, hidden_size=8, num_layers=3, dropout=0.5, bidirectional=bidirectional
    ).eval()


def torchs(ours: GRUEncoder) -> nn.GRU:
    """torch's layers over packed sequences, with the same weights."""
    directions = 2 if ours.reverse_rnn else 1
    theirs = nn.GRU(5, 8 // directions, 3, bidirectional=directions == 2)
    state = {}
    for suffix, layers in (("", ours.rnn), ("_reverse", ours.reverse_rnn)):
        for i, layer in enumerate(layers):
            state |= {key.replace("_l0", f"_l{i}{suffix}"): w for key, w in layer.state_dict().items()}
    theirs.load_state_dict(state)
    return theirs


@pytest.mark.parametrize("bidirectional", [False, True])
def test_encoder_equals_torchs_layers_over_packed_sequences(bidirectional: bool) -> None:
    ours = encoder(bidirectional)
    theirs = torchs(ours)
    source = sentences()
    outputs, state = ours(source, LENGTHS)

    packed = pack_padded_sequence(ours.embedding(source.T), LENGTHS, enforce_sorted=False)
    packed_outputs, hidden = theirs(packed)
    expected = pad_packed_sequence(packed_outputs, batch_first=True)[0]
    if bidirectional:  # (layers * 2, batch, 4): the two directions of a layer stand next to each other
        hidden = hidden.unflatten(0, (3, 2)).transpose(1, 2).flatten(2)
    inside = torch.arange(7) < LENGTHS[:, None]
    torch.testing.assert_close(outputs[inside], expected[inside], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(state, hidden, atol=1e-6, rtol=1e-5)

    weight = torch.randn(8)
    ((state @ weight).sum() + (outputs[inside] @ weight).square().sum()).backward()
    ((hidden @ weight).sum() + (expected[inside] @ weight).square().sum()).backward()
    for suffix, layers in (("", ours.rnn), ("_reverse", ours.reverse_rnn)):
        for i, layer in enumerate(layers):
            for key, parameter in layer.named_parameters():
                grad = getattr(theirs, key.replace("_l0", f"_l{i}{suffix}")).grad
                torch.testing.assert_close(parameter.grad, grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_q7_padding_and_neighbours_change_nothing(bidirectional: bool) -> None:
    """The book's encoder reads the padding too, and hands on the state after it."""
    model = zoo.Seq2Seq(
        source_vocab_size=20,
        target_vocab_size=20,
        embed_dim=5,
        hidden_size=8,
        bidirectional=bidirectional,
    ).eval()
    source, target = sentences(), sentences(1)
    together = model(source, LENGTHS, target)
    more = torch.cat([source, sentences(2)], dim=1)
    torch.testing.assert_close(model(more, LENGTHS, target), together, atol=1e-6, rtol=1e-6)
    for i, length in enumerate(LENGTHS.tolist()):
        alone = model(source[i : i + 1, :length], LENGTHS[i : i + 1], target[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], atol=1e-6, rtol=1e-6)
    for i in range(len(LENGTHS)):  # ... while each token within the length does
        changed = source.clone()
        changed[i, LENGTHS[i] - 1] = (changed[i, LENGTHS[i] - 1] + 1) % 20
        assert not torch.allclose(model(changed, LENGTHS, target)[i], together[i], atol=1e-5)


def test_dropout_is_between_the_layers_of_the_encoder() -> None:
    ours = encoder().train()
    states = [ours(sentences(), LENGTHS)[1] for _ in range(2)]
    torch.testing.assert_close(states[0][0], states[1][0])  # nothing is dropped before the first layer
    assert not torch.allclose(states[0][1], states[1][1])
    assert not torch.allclose(states[0][2], states[1][2])


def decoder() -> GRUDecoder:
    return GRUDecoder(20, embed_dim=5, hidden_size=8, num_layers=2, dropout=0.5).eval()


def start() -> tuple[Tensor, Tensor]:
    return torch.randn(2, 6, 8), torch.randn(6, 8)


def test_decoder_sees_the_context_at_each_step() -> None:
    ours = decoder()
    tokens = sentences()
    encoded = (torch.randn(6, 4, 8), torch.randn(2, 6, 8))
    state = ours.init_state(encoded, LENGTHS)
    logits, (hidden, context) = ours(tokens, state)
    top = encoded[1][1]
    steps = [torch.cat([ours.embedding(tokens[:, i]), top], dim=1) for i in range(7)]
    expected, last = ours.rnn(torch.stack(steps), encoded[1])
    torch.testing.assert_close(logits, ours.dense(expected).transpose(0, 1))
    torch.testing.assert_close(hidden, last)
    torch.testing.assert_close(context, top)


def test_decoder_goes_on_from_its_state() -> None:
    ours, tokens, state = decoder(), sentences(), start()
    logits, last = ours(tokens, state)
    for i in range(7):
        step, state = ours(tokens[:, i : i + 1], state)
        torch.testing.assert_close(step[:, 0], logits[:, i], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(state, last, atol=1e-6, rtol=1e-6)


def test_later_tokens_do_not_change_earlier_logits() -> None:
    ours, tokens, state = decoder(), sentences(), start()
    logits = ours(tokens, state)[0]
    for i in range(7):
        changed = tokens.clone()
        changed[:, i:] = (changed[:, i:] + 1) % 20
        other = ours(changed, state)[0]
        torch.testing.assert_close(other[:, :i], logits[:, :i], atol=1e-6, rtol=1e-6)
        assert not torch.allclose(other[:, i], logits[:, i])


def test_select_chooses_rows() -> None:
    ours, tokens, state = decoder(), sentences(), start()
    rows = torch.tensor([4, 1, 1])
    before = [field.clone() for field in state]
    logits = ours(tokens[rows], ours.select(state, rows))[0]
    torch.testing.assert_close(logits, ours(tokens, state)[0][rows], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(list(state), before)


def test_parameters_of_the_book() -> None:
    model = zoo.Seq2Seq(source_vocab_size=194, target_vocab_size=214)
    assert count(model.net.encoder) == 839_168
    assert count(model.net.decoder) == 1_095_894


def test_two_directions_have_half_of_the_state_each() -> None:
    model = zoo.Seq2Seq(source_vocab_size=194, target_vocab_size=214, bidirectional=True)
    # Per direction three gates of 128: on 256 inputs, 128 states, two biases.
    assert count(model.net.encoder) == 194 * 256 + 2 * 2 * 3 * 128 * (256 + 128 + 2)
    with pytest.raises(ValueError, match="hidden_size is 7, but must be even for two directions"):
        zoo.Seq2Seq(source_vocab_size=9, target_vocab_size=9, hidden_size=7, bidirectional=True)


def weights_of(model: zoo.Seq2Seq) -> dict[str, Tensor]:
    return {k: w for k, w in model.net.named_parameters() if w.ndim > 1 and "embedding" not in k}


def test_erratum_6_seq2seq_initialises_its_head_as_its_recurrent_layers() -> None:
    """In the book's code the head has no weights yet when Xavier is applied, and keeps torch's default."""
    weights = weights_of(zoo.Seq2Seq(source_vocab_size=194, target_vocab_size=214))
    assert len(weights) == 4 + 4 + 1
    for key, weight in weights.items():
        bound = math.sqrt(6 / sum(weight.shape))  # Glorot and Bengio (2010), uniform
        assert 0.98 * bound < weight.abs().max().item() <= bound * (1 + 1e-6), key
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02), key


def test_default_initialisation_is_torchs() -> None:
    weights = weights_of(zoo.Seq2Seq(source_vocab_size=194, target_vocab_size=214, init="default"))
    for key, weight in weights.items():
        assert 0.98 / 16 < weight.abs().max().item() <= 1 / 16, key  # 1 / sqrt(256), whatever the inputs


def test_embeddings_and_what_the_head_sees_are_dropped_in_training_alone() -> None:
    options: dict[str, Any] = {"embed_dim": 5, "hidden_size": 8, "dropout": 0, "embed_dropout": 0.5}
    model = zoo.Seq2Seq(source_vocab_size=20, target_vocab_size=20, **options)
    inputs = (sentences(), LENGTHS, sentences(1))
    assert not torch.allclose(model(*inputs), model(*inputs))
    embedding = model.net.encoder.rnn[0].register_forward_hook(lambda _m, x, _y: seen.append(x[0]))
    head = model.net.decoder.dense.register_forward_hook(lambda _m, x, _y: seen.append(x[0]))
    decoder = model.net.decoder.rnn.register_forward_hook(lambda _m, x, _y: seen.append(x[0][:, :, :5]))
    seen: list[Tensor] = []
    model(*inputs)
    for hidden in seen:
        assert 0.3 < (hidden == 0).float().mean() < 0.7
    seen.clear()
    model.eval()(*inputs)
    for hidden in seen:
        assert (hidden != 0).all()
    assert len(seen) == 3
    for handle in (embedding, head, decoder):
        handle.remove()


def test_a_single_layer_works() -> None:
    model = zoo.Seq2Seq(source_vocab_size=20, target_vocab_size=20, num_layers=1, hidden_size=8, embed_dim=5)
    batch = TranslationBatch(
        sentences(), LENGTHS, sentences(1), torch.full((6,), 7), torch.zeros(6, 0, 0, dtype=torch.int64)
    )
    assert model.measure(batch)[2] == 36

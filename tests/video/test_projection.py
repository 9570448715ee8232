"""PCA and standardization against plain numpy, and Google's files."""

import io
import tarfile

import numpy as np
import pytest

from yt8m_distill.errors import UserError
from yt8m_distill.quantization import Range, dequantize
from yt8m_distill.video.projection import Projection, fit_pca, fit_standardization
from yt8m_distill.video.projection_files import read_projection


def sample(frames=400, size=12):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(size, size)) * np.linspace(2, 0.05, size)
    return (rng.normal(size=(frames, size)) @ mixing.T + rng.normal(size=size)).astype(np.float32)


def test_pca_is_that_of_a_singular_value_decomposition():
    features = sample()
    projection = fit_pca(features, 5)
    centered = features - features.mean(axis=0, dtype=np.float64)
    _, singular, rows = np.linalg.svd(centered, full_matrices=False)
    variances = singular**2 / (len(features) - 1)
    expected = centered @ rows[:5].T / np.sqrt(variances[:5])
    result = projection(features)
    assert (result.shape, result.dtype, projection.size, projection.input_size) == ((400, 5), np.float32, 5, 12)
    signs = np.sign((result * expected).sum(axis=0))
    np.testing.assert_allclose(result, expected * signs, rtol=0, atol=2e-3)  # a little damped
    np.testing.assert_allclose(np.cov(result.T), np.eye(5), rtol=0, atol=1e-3)
    assert projection.explained_variance == pytest.approx(variances[:5].sum() / variances.sum())
    assert fit_pca(features).size == 12
    assert fit_pca(features).explained_variance == pytest.approx(1.0)


def test_components_without_variance_stay_quiet():
    features = np.repeat(sample(size=6), 2, axis=1)  # rank 6 of 12
    result = fit_pca(features, 12)(features)
    assert np.abs(result[:, 6:]).max() < 0.01
    np.testing.assert_allclose(result[:, :5].std(axis=0), 1.0, atol=0.01)
    constant = np.full((9, 3), 0.3, np.float32)
    assert np.abs(fit_pca(constant)(constant)).max() < 1e-6
    np.testing.assert_allclose(fit_standardization(constant)(constant + 1), 1.0, rtol=1e-6)


def test_standardization():
    features = sample()
    projection = fit_standardization(features)
    expected = (features - features.mean(axis=0, dtype=np.float64)) / features.std(axis=0, dtype=np.float64)
    np.testing.assert_allclose(projection(features), expected, rtol=0, atol=1e-5)
    assert (projection.method, projection.explained_variance) == ("standardize", 1.0)


def test_bytes_fill_their_range():
    features = sample(2000)
    projection = fit_pca(features, 5)
    projected, stored = projection(features), projection.to_bytes(features)
    assert (stored.dtype, stored.min(), stored.max()) == (np.uint8, 0, 255)
    step = (projection.range.max_value - projection.range.min_value) / 255
    inside = (projected >= projection.range.min_value) & (projected <= projection.range.max_value)
    numbers = np.asarray(dequantize(stored, projection.range.max_value, projection.range.min_value))
    assert np.abs(numbers - projected)[inside].max() < 1.1 * step
    assert projection.clipped_share(features) == pytest.approx(np.mean(~inside))
    assert 0 < projection.clipped_share(features) < 3e-4


def test_bytes_do_not_depend_on_the_frames_beside_them():
    features = sample(500, 64)
    projection = fit_pca(features, 40)
    together = projection.to_bytes(features)
    for rows in ([0], [7, 499], list(range(100, 113))):
        np.testing.assert_array_equal(projection.to_bytes(features[rows]), together[rows])


@pytest.mark.parametrize("fit", [fit_pca, fit_standardization])
def test_a_projection_is_the_same_when_it_is_read_again(tmp_path, fit):
    features = sample()
    projection = fit(features)
    projection.save(tmp_path / "rgb.npz")
    again = read_projection(tmp_path / "rgb.npz")
    np.testing.assert_array_equal(again(features), projection(features))
    np.testing.assert_array_equal(again.to_bytes(features), projection.to_bytes(features))
    assert again.describe() == projection.describe()
    assert again.range == projection.range
    assert fit(features[1:]).identity != projection.identity
    with pytest.raises(UserError, match="takes features of 12 values, not of 13: it was made for another backbone"):
        again(np.zeros((4, 13), np.float32))


def test_samples_that_are_too_small_are_errors():
    with pytest.raises(UserError, match="13 components is not possible, as the backbone has 12 values: at most 12"):
        fit_pca(sample(), 13)
    with pytest.raises(UserError, match="9 components is not possible, as the sample has 9 frames: at most 8"):
        fit_pca(sample(9), 9)
    with pytest.raises(UserError, match="has 1 frames; two are the least"):
        fit_standardization(sample(1))
    with pytest.raises(UserError, match="a value that is not finite"):
        fit_pca(np.full((5, 2), np.nan))


def google_files():
    rng = np.random.default_rng(5)
    vectors = np.linalg.qr(rng.normal(size=(20, 20)))[0].astype(np.float32)
    values = np.sort(rng.uniform(0, 5, (20, 1)).astype(np.float32), axis=0)[::-1]
    return {"mean.npy": rng.normal(size=(20, 1)).astype(np.float32), "eigenvals.npy": values, "eigenvecs.npy": vectors}


def write_google_files(folder, packed=False):
    for name, array in google_files().items():
        np.save(folder / name, array)
    if packed:
        with tarfile.open(folder / "yt8m_pca.tgz", "w:gz") as archive:
            for name in google_files():
                archive.add(folder / name, f"yt8m_pca/{name}")
                (folder / name).unlink()


@pytest.mark.parametrize("place", [".", "packed", "packed/yt8m_pca.tgz"])
def test_googles_pca_of_youtube8m(tmp_path, place):
    (tmp_path / "packed").mkdir()
    write_google_files(tmp_path)
    write_google_files(tmp_path / "packed", packed=True)
    projection = read_projection(tmp_path / place, size=6)
    features = np.random.default_rng(6).normal(size=(30, 20)).astype(np.float32)
    # The starter code, word for word but for the loop over frames.
    files = google_files()
    pca_mean, pca_eigenvals = files["mean.npy"][:, 0], files["eigenvals.npy"][:6, 0]
    pca_eigenvecs = files["eigenvecs.npy"].T[:, :6]
    expected = (features - pca_mean).dot(pca_eigenvecs) / np.sqrt(pca_eigenvals + 1e-4)
    np.testing.assert_allclose(projection(features), expected, rtol=0, atol=1e-5)
    clipped = np.clip(expected.astype(np.float64), -2, 2)
    stored = np.rint((clipped + 2) * 255 / 4)
    sure = np.abs((clipped + 2) * 255 / 4 % 1 - 0.5) > 1e-3  # float32 may round the others either way
    np.testing.assert_array_equal(projection.to_bytes(features)[sure], stored[sure])
    assert projection.clipped_share(features) == np.mean(np.abs(expected) > 2)
    values = files["eigenvals.npy"]
    assert projection.explained_variance == pytest.approx(values[:6].sum() / values.sum())
    assert read_projection(tmp_path / place).size == 20  # all, up to 1024


def test_halves_are_rounded_to_even():
    parts = np.zeros(1, np.float32), None, np.ones(1, np.float32)
    assert Projection("standardize", *parts).range == Range(-2.0, 2.0)
    projection = Projection("standardize", *parts, Range(0.0, 255.0))
    numbers = np.array([[-9.0], [0.5], [1.5], [2.5], [300.0]])
    assert projection.to_bytes(numbers)[:, 0].tolist() == [0, 0, 2, 2, 255]
    assert projection.clipped_share(numbers) == 0.4


def test_pca_of_vggish(tmp_path):
    rng = np.random.default_rng(7)
    vectors, means = rng.normal(size=(8, 8)), rng.normal(size=(8, 1))
    np.savez(tmp_path / "vggish_pca_params.npz", pca_eigen_vectors=vectors, pca_means=means)
    projection = read_projection(tmp_path / "vggish_pca_params.npz")
    embeddings = rng.normal(size=(5, 8)).astype(np.float32)
    expected = np.dot(vectors, embeddings.T - means).T  # as vggish_postprocess.py
    np.testing.assert_allclose(projection(embeddings), expected, rtol=0, atol=1e-5)
    assert projection.range == Range(-2.0, 2.0)


def test_other_files_are_errors(tmp_path):
    arrays = {"mean": np.zeros(3), "deviations": np.ones(2), "components": np.ones((3, 2)), "range": np.array([-1, 1])}
    np.savez(tmp_path / "good.npz", **arrays)
    assert read_projection(tmp_path / "good.npz").size == 2
    others = {
        "no range": {key: value for key, value in arrays.items() if key != "range"},
        "shapes": {**arrays, "components": np.ones((2, 3))},
        "not finite": {**arrays, "mean": np.array([0, np.nan, 0])},
        "zero": {**arrays, "deviations": np.array([1.0, 0.0])},
        "turned": {**arrays, "range": np.array([1, -1])},
        "objects": {**arrays, "mean": np.array([None, 1, 2])},
    }
    for name, values in others.items():
        np.savez(tmp_path / f"{name}.npz", **values)
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "text.tgz").write_text("text")
    with open(tmp_path / "array.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with tarfile.open(tmp_path / "empty.tgz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("mean.npy"), io.BytesIO())
    for name in (*(f"{name}.npz" for name in others), "text.npz", "text.tgz", "array.npz", "empty.tgz"):
        with pytest.raises(UserError, match="is not a projection, or damaged: "):
            read_projection(tmp_path / name)
    with pytest.raises(UserError, match=r"cannot be read: there is no '.*mean\.npy'"):
        read_projection(tmp_path)
    with pytest.raises(UserError, match=r"cannot be read: there is no '.*none\.npz'"):
        read_projection(tmp_path / "none.npz")


def test_damage_is_an_error_or_other_numbers(tmp_path):
    fit_pca(sample(50, 4)).save(tmp_path / "rgb.npz")
    content, rng = (tmp_path / "rgb.npz").read_bytes(), np.random.default_rng(0)
    errors = 0
    for _ in range(500):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[rng.integers(len(content), size=2)] = rng.integers(256, size=2)
        (tmp_path / "damaged.npz").write_bytes(damaged.tobytes())
        try:
            assert read_projection(tmp_path / "damaged.npz").input_size == 4
        except UserError:
            errors += 1
    assert 100 < errors < 500

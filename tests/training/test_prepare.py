"""From files to shards: what is read, curated, clustered and written."""

import csv
import gzip

import numpy as np
import pytest

gemmi = pytest.importorskip("gemmi")

from openmm_backmap.cli.main import main  # noqa: E402
from openmm_backmap.errors import DataError, OutputExistsError  # noqa: E402
from openmm_backmap.residues.atoms import SLOT_NAMES  # noqa: E402
from openmm_backmap.residues.names import CODES  # noqa: E402
from openmm_backmap.training.prepare import (  # noqa: E402
    find_sources,
    prepare_folder,
    prepare_sources,
)
from openmm_backmap.training.prepare_clusters import (  # noqa: E402
    align_identity,
    assign_splits,
    cluster_sequences,
    find_components,
)
from openmm_backmap.training.prepare_curate import (  # noqa: E402
    CurationSettings,
    RejectedError,
    curate,
)
from openmm_backmap.training.prepare_download import (  # noqa: E402
    PACKAGED_LIST,
    ListedEntry,
    download_entries,
    make_packaged_list,
    read_entry_list,
)
from openmm_backmap.training.prepare_read import read_structure  # noqa: E402
from openmm_backmap.training.prepared import prepare_split  # noqa: E402
from openmm_backmap.training.shards import read_shard  # noqa: E402


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "in"
    path.mkdir()
    return path


@pytest.fixture
def structure(protein_path):
    """Give 1RIS as gemmi sees it, as if it were an X-ray entry."""
    found = gemmi.read_structure(str(protein_path))
    found.setup_entities()
    found.info["_exptl.method"] = "X-RAY DIFFRACTION"
    found.info["_entry.id"] = "1RIS"
    found.resolution = 2.0
    return found


def write_cif(structure, path):
    document = structure.make_mmcif_document()
    kind = structure.info["_exptl.method"]
    table = {"pdbx_refine_id": [kind], "ls_d_res_high": [str(structure.resolution)]}
    if "MICROSCOPY" in kind:
        document[0].set_pair(
            "_em_3d_reconstruction.resolution", str(structure.resolution)
        )
    else:
        document[0].set_mmcif_category("_refine", table)
    document.write_file(str(path))
    return path


def read_rows(path):
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_a_structure_comes_back_from_its_shard(structure, folder, protein, tmp_path):
    write_cif(structure, folder / "1ris.cif")
    result = prepare_folder(folder, tmp_path / "out", licence="CC0-1.0")
    assert result.n_entries == {"train": 1, "val": 0, "test": 0}
    (entry,) = read_shard(tmp_path / "out" / "train.npz")
    assert (entry.entry_id, entry.method, entry.resolution) == ("1ris", "X-RAY", 2.0)
    assert np.array_equal(entry.residue_type, protein.residue_type)
    assert np.array_equal(entry.mask, protein.mask)
    wanted = protein.positions - protein.positions[0, :, 1].mean(0)
    assert np.abs((entry.positions - wanted)[:, protein.mask]).max() < 2e-4
    assert np.abs(entry.positions[0, :, 1].mean(0)).max() < 1e-3
    (row,) = read_rows(tmp_path / "out" / "entries.tsv")
    assert row["pdb_id"] == "1ris"
    assert row["licence_class"] == "cc0"
    assert len(row["sha256"]) == 64
    with np.load(tmp_path / "out" / "train.npz") as arrays:
        assert arrays["resnum"].tolist() == list(range(1, 98))
        assert arrays["chain_name"].tolist() == ["A"]
    with pytest.raises(OutputExistsError, match="--overwrite"):
        prepare_folder(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("said", "method"),
    [("SOLUTION NMR", "NMR"), ("ELECTRON MICROSCOPY", "EM"), ("FIBER", "UNKNOWN")],
)
def test_method_and_resolution_are_read(structure, folder, said, method):
    structure.info["_exptl.method"] = said
    raw = read_structure(write_cif(structure, folder / "a.cif"))
    assert (raw.method, raw.resolution, raw.pdb_id) == (method, 2.0, "1ris")


def test_the_more_occupied_alternative_is_kept_whole(structure, folder):
    residue = structure[0][0][0]
    assert residue.name == "MET"
    for name in ("CG", "SD", "CE"):
        atom = residue.find_atom(name, "*")
        other = atom.clone()
        other.altloc, other.occ = "B", 0.7 if name != "SD" else 0.3
        other.pos = gemmi.Position(*(x + 0.5 for x in atom.pos.tolist()))
        atom.altloc, atom.occ = "A", 1.0 - other.occ
        residue.add_atom(other)
    raw = read_structure(write_cif(structure, folder / "a.cif"))
    slots = [SLOT_NAMES[raw.residue_type[0]].index(n) for n in ("CG", "SD", "CE")]
    atoms = {a.name: a.pos.tolist() for a in residue if a.altloc == "B"}
    for slot, name in zip(slots, ("CG", "SD", "CE"), strict=True):
        assert np.allclose(raw.positions[0, 0, slot], np.array(atoms[name]) / 10)


def test_names_of_the_same_side_chain_become_standard(structure, folder):
    chain = structure[0][0]
    residue = chain[0]
    residue.name = "MSE"
    residue.find_atom("SD", "*").name = "SE"
    residue.find_atom("SE", "*").element = gemmi.Element("Se")
    modified = next(r for r in chain if r.name == "SER")
    modified.name = "SEP"
    raw = read_structure(write_cif(structure, folder / "a.cif"))
    assert raw.residue_type[0] == CODES.index("M")
    assert np.isfinite(raw.positions[0, 0, SLOT_NAMES[12].index("SD")]).all()
    # a phosphate is no side chain of serine: the residue is a gap
    assert modified.seqid.num not in raw.residue_number
    assert raw.n_skipped == 1
    assert "1 non-standard residues" in curate(raw).note


def test_missing_atoms_are_masked_and_broken_residues_dropped(structure, folder):
    chain = structure[0][0]
    chain[10].remove_atom("O", "*", gemmi.Element("O"))
    tail = chain[20].name
    last = SLOT_NAMES[read_type(tail)][-1]
    chain[20].remove_atom(last, "*")
    entry = curate(read_structure(write_cif(structure, folder / "a.cif"))).entry
    assert len(entry.residue_type) == 96
    at = 19  # one residue before it is gone
    assert entry.mask[at].sum() == len(SLOT_NAMES[entry.residue_type[at]]) - 1
    hidden = ~entry.mask[at] & (np.arange(14) < 14)
    assert np.allclose(entry.positions[0, at, hidden], entry.positions[0, at, 1])


def read_type(name):
    return next(k for k, c in enumerate(CODES)
                if gemmi.find_tabulated_residue(name).one_letter_code == c)  # fmt: skip


def test_a_side_chain_that_is_torn_is_masked_beyond_cb(structure, folder):
    residue = structure[0][0][3]
    atom = residue.find_atom("CG", "*")
    atom.pos = gemmi.Position(*(x + 0.6 for x in atom.pos.tolist()))
    curated = curate(read_structure(write_cif(structure, folder / "a.cif")))
    assert curated.entry.mask[3].nonzero()[0].tolist() == [0, 1, 2, 3, 4]
    assert "1 masked side chains" in curated.note


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda raw: raw.positions * [1, 1, -1], "D-like residues"),
        (lambda raw: raw.positions * 1.15, "residues with|odd bonds|complete"),
        (lambda raw: raw.positions[:, :3], "residues with a full backbone: 3"),
    ],
)
def test_unsound_structures_are_refused(protein_path, spoil, reason):
    from dataclasses import replace

    raw = read_structure(protein_path)
    positions = spoil(raw).astype(np.float32)
    raw = raw.take(np.arange(positions.shape[1]))
    with pytest.raises(RejectedError, match=reason):
        curate(replace(raw, positions=positions))


def test_resolution_and_clashes_are_limits(protein_path):
    from dataclasses import replace

    raw = read_structure(protein_path)
    with pytest.raises(RejectedError, match="resolution: 3.4 A, limit 3 A"):
        curate(replace(raw, resolution=3.4))
    chains = tuple("AB"[r >= 48] for r in range(97))
    moved = raw.positions.copy()
    moved[:, 48:] += moved[:, 20, 1][:, None, None] - moved[:, 60, 1][:, None, None]
    with pytest.raises(RejectedError, match="contacts under 2.2 A"):
        curate(replace(raw, positions=moved, chain_id=chains))


def test_models_share_their_atoms_and_torn_ones_are_left_out(structure, folder):
    for _ in range(2):
        structure.add_model(structure[0].clone())
    structure.renumber_models()
    structure[1][0][7].remove_atom(structure[1][0][7][-1].name, "*")
    for residue in list(structure[2][0])[50:]:
        for atom in residue:
            atom.pos = gemmi.Position(*(x + 40.0 for x in atom.pos.tolist()))
    raw = read_structure(write_cif(structure, folder / "a.cif"))
    assert raw.positions.shape[0] == 3
    curated = curate(raw)
    assert len(curated.entry.positions) == 2
    assert "1 torn models" in curated.note
    one = curate(read_structure(folder / "a.cif", max_models=1))
    assert one.entry.mask.sum() == curated.entry.mask.sum() + 1


def test_copies_of_a_chain_are_limited(structure, folder):
    for k, name in enumerate("BCDEFG"):
        chain = structure[0][0].clone()
        chain.name = name
        for residue in chain:
            for atom in residue:
                atom.pos += gemmi.Position(60.0 * (k + 1), 0, 0)
        structure[0].add_chain(chain)
    structure.setup_entities()
    raw = read_structure(write_cif(structure, folder / "a.cif"))
    assert curate(raw).chain_id == ("A", "B", "C", "D")
    few = curate(raw, CurationSettings(max_residues=200))
    assert few.chain_id == ("A", "B")


def test_copies_are_dropped_and_other_conformations_kept(protein_path, folder, rng):
    text = protein_path.read_text()
    (folder / "one.pdb").write_text(text)
    found = gemmi.read_structure(str(protein_path))
    turn = gemmi.Transform(gemmi.Mat33([[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
                           gemmi.Vec3(5, 6, 7))  # fmt: skip
    found[0].transform_pos_and_adp(turn)
    found.write_pdb(str(folder / "two.pdb"))
    (folder / "broken.pdb").write_text("ATOM  nonsense\n")
    result = prepare_folder(folder, folder.parent / "out")
    assert result.n_entries["train"] == 1
    reasons = dict(result.rejected)
    assert reasons["two.pdb"] == "same as one within 0.8 A"
    assert "broken.pdb" in reasons
    assert len(read_rows(folder.parent / "out" / "rejected.tsv")) == 2


def test_a_trajectory_is_an_ensemble(protein_path, folder, protein):
    import mdtraj

    trajectory = mdtraj.load(str(protein_path))
    frames = trajectory.xyz + 0.002 * np.arange(9)[:, None, None]
    mdtraj.Trajectory(frames, trajectory.topology).save_dcd(str(folder / "run.dcd"))
    with pytest.raises(DataError, match="needs a topology"):
        find_sources(folder)
    (folder / "run.pdb").write_text(protein_path.read_text())
    settings = CurationSettings(max_models=4)
    out = folder.parent / "out"
    prepare_folder(folder, out, settings=settings, kind="disordered")
    (entry,) = read_shard(out / "train.npz")
    assert (entry.method, len(entry.positions)) == ("MD", 4)
    assert np.array_equal(entry.mask, protein.mask)
    shift = entry.positions[:, 0, 1] - entry.positions[0, 0, 1]
    wanted = 0.002 * np.array([0, 3, 5, 8])[:, None]
    assert np.abs(shift - wanted).max() < 3e-4
    assert read_rows(out / "entries.tsv")[0]["conformer_kind"] == "disordered"


@pytest.mark.parametrize("said_by", ["name", "title", "metric", "scale"])
def test_confidence_of_a_prediction_is_no_b_factor(
    structure, folder, tmp_path, said_by
):
    """97 residues of pLDDT 95, but for the last 17 of 45."""
    structure.info["_exptl.method"] = ""
    structure.info["_struct.title"] = "ESMFOLD V1 PREDICTION" * (said_by == "title")
    structure.resolution = 0.0
    unit = 0.01 if said_by == "scale" else 1.0
    for k, residue in enumerate(structure[0][0]):
        for atom in residue:
            atom.b_iso = unit * (95.0 if k < 80 else 45.0)
    name = "AF-P23370-F1-model_v4.pdb" if said_by in ("name", "scale") else "a.pdb"
    if said_by == "metric":
        document = structure.make_mmcif_document()
        category = {"id": ["1"], "name": ["pLDDT"], "mode": ["local"]}
        document[0].set_mmcif_category("_ma_qa_metric", category)
        document.write_file(str(folder / "a.cif"))
    else:
        structure.write_pdb(str(folder / name))
    prepare_folder(folder, tmp_path / "out")
    (entry,) = read_shard(tmp_path / "out" / "train.npz")
    assert entry.method == "PREDICTED"
    assert not entry.bfactor[:80].any()
    data = prepare_split([tmp_path / "out" / "train.npz"], tmp_path / "p")
    assert data.known[:78].any(-1).all()
    assert not data.known[80:].any()


def test_b_factors_of_an_x_ray_entry_stay(structure, folder, tmp_path):
    """An X-ray entry that was solved with a prediction is no prediction."""
    structure.info["_struct.title"] = "SOLVED WITH AN ALPHAFOLD MODEL"
    structure[0][0][3][0].b_iso = 80.0
    path = write_cif(structure, folder / "a.cif")
    raw = read_structure(path)
    assert raw.method == "X-RAY"
    assert raw.bfactor.max() == 80.0


def test_a_split_without_a_torsion_is_refused(structure, folder, tmp_path):
    for atom in (atom for residue in structure[0][0] for atom in residue):
        atom.b_iso = 90.0
    write_cif(structure, folder / "a.cif")
    prepare_folder(folder, tmp_path / "out")
    with pytest.raises(DataError, match="no torsion to learn in .*60 and more"):
        prepare_split([tmp_path / "out" / "train.npz"], tmp_path / "p")


def test_an_old_set_stays_until_the_new_one_is_written(structure, folder, monkeypatch):
    write_cif(structure, folder / "a.cif")
    out = folder.parent / "out"
    prepare_folder(folder, out)
    (out / "test_7.npz").write_bytes(b"of a set with more shards")
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def fail(*_args):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("openmm_backmap.training.prepare_write._cell", fail)
        with pytest.raises(OSError, match="disk full"):
            prepare_folder(folder, out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    result = prepare_folder(folder, out, overwrite=True, licence="CC0-1.0")
    assert sorted(result.files) == sorted(out.iterdir())
    assert read_rows(out / "entries.tsv")[0]["licence"] == "CC0-1.0"


def mutate(sequence, share, rng):
    letters = np.array(list(sequence))
    change = rng.random(len(letters)) >= share
    letters[change] = rng.choice(list(CODES), change.sum())
    return "".join(letters)


def test_relatives_are_clustered_and_strangers_are_not(rng):
    parents = ["".join(rng.choice(list(CODES), n)) for n in (150, 90, 240, 60, 200)]
    children = [mutate(p, 0.6, rng) for p in parents]
    sequences = [s for pair in zip(parents, children, strict=True) for s in pair]
    label = cluster_sequences(sequences, 0.4, mmseqs=False)
    assert label.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert len(set(cluster_sequences(sequences, 0.9, mmseqs=False))) == 10
    # a domain inside a longer chain, and a copy
    whole = parents[2][100:] + parents[0] + parents[4][:80]
    label = cluster_sequences([children[0], whole, children[0]], 0.4, mmseqs=False)
    assert label.tolist() == [0, 0, 0]


def test_short_relatives_of_long_chains_are_found(rng):
    missed = 0
    for _ in range(20):
        long = "".join(rng.choice(list(CODES), 1000))
        short = mutate(long[400:460], 0.5, rng)
        related = align_identity(short, long)[0] >= 0.45
        label = cluster_sequences([long, short], 0.4, mmseqs=False)
        missed += related and label[0] != label[1]
    # by words of all of the long chain 9 of them
    assert missed <= 2


def test_identity_of_a_known_alignment():
    first = "ACDEFGHIKLMNPQRSTVWYACDEFGHIKLMN"
    second = first[:16] + "W" + first[17:24]
    identity, coverage = align_identity(first, second)
    assert coverage == 1.0
    assert identity == pytest.approx(23 / 24)


def test_components_keep_relatives_in_one_split(rng):
    groups = [["c1", "p1"], ["c2", "p1"], ["c2", "p3"], ["c4", "p4"], ["c5", "p4"]]
    assert find_components(groups).tolist() == [0, 0, 0, 1, 1]
    component = np.repeat(np.arange(200), 3)
    names = [f"e{k}" for k in range(600)]
    sizes = rng.integers(50, 400, 600)
    sizes[:3] = 20000  # a family too large for val or test
    split = np.array(assign_splits(component, sizes, names, (0.2, 0.1)))
    assert all(len(set(split[component == k])) == 1 for k in range(200))
    assert split[0] == "train"
    share = {s: sizes[split == s].sum() / sizes.sum() for s in ("val", "test")}
    assert 0.15 < share["val"] <= 0.2
    assert 0.06 < share["test"] <= 0.1
    assert split.tolist() == assign_splits(component, sizes, names, (0.2, 0.1))


def test_the_packaged_list_is_that_of_the_training_set(shared, tmp_path):
    n = make_packaged_list(shared / "data" / "entries.tsv", tmp_path / "list.tsv.gz")
    assert n > 6000
    assert (tmp_path / "list.tsv.gz").read_bytes() == PACKAGED_LIST.read_bytes()


def test_the_packaged_list_can_be_read():
    entries = read_entry_list(PACKAGED_LIST)
    assert {entry.split for entry in entries} == {"train", "val", "test"}
    assert ListedEntry("101m", "train", ("A",)) in entries


def test_a_list_is_downloaded_and_prepared(structure, folder, tmp_path, capsys):
    mirror = tmp_path / "mirror" / "ri"
    mirror.mkdir(parents=True)
    chain = structure[0][0].clone()
    chain.name = "B"
    for residue in chain:
        for atom in residue:
            atom.pos += gemmi.Position(60.0, 0, 0)
    structure[0].add_chain(chain)
    structure.setup_entities()
    text = structure.make_mmcif_document().as_string()
    (mirror / "1ris.cif.gz").write_bytes(gzip.compress(text.encode()))
    table = tmp_path / "list.tsv"
    table.write_text("pdb_id\tsplit\tchains\n1ris\ttest\tB\n9zzz\ttrain\tall\n")
    words = ["prepare", "--from-list", str(table), "-o", str(tmp_path / "out"), "-q"]
    assert main([*words, "--mirror", (tmp_path / "mirror").as_uri()]) == 0
    said = capsys.readouterr()
    assert "1 entries are not on the mirror: 9zzz" in said.err
    assert "test: 1 entries, 97 residues" in said.out
    (row,) = read_rows(tmp_path / "out" / "entries.tsv")
    assert (row["split"], row["chain_lengths"]) == ("test", "97")
    assert row["licence"].startswith("CC0-1.0")
    with np.load(tmp_path / "out" / "test.npz") as arrays:
        assert arrays["chain_name"].tolist() == ["B"]


def test_without_a_network_the_error_says_what_to_do(tmp_path):
    address = "http://127.0.0.1:9/mmCIF"
    with pytest.raises(DataError, match="is there a network.*--mirror"):
        download_entries([ListedEntry("1abc", "")], tmp_path, mirror=address)


def test_an_unknown_split_is_refused(structure, folder, tmp_path):
    write_cif(structure, folder / "a.cif")
    splits = {"1ris": "validation"}
    with pytest.raises(DataError, match="'validation' is unknown: wanted train, val"):
        prepare_sources(find_sources(folder), tmp_path / "out", splits=splits)
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_and_bad_lists_are_errors(folder, tmp_path):
    with pytest.raises(DataError, match="no file to prepare"):
        find_sources(folder)
    with pytest.raises(DataError, match="is not a folder"):
        find_sources(folder / "nowhere")
    table = tmp_path / "list.tsv"
    table.write_text("id\n1abc\n")
    with pytest.raises(DataError, match="no column pdb_id"):
        read_entry_list(table)
    table.write_text("pdb_id\tsplit\n1abc\ttrain\n1ABC\ttest\n")
    with pytest.raises(DataError, match="belongs to one"):
        read_entry_list(table)
    table.write_text("pdb_id\tsplit\n1abc\tvalidation\n")
    with pytest.raises(DataError, match="split 'validation', wanted train"):
        read_entry_list(table)
    (folder / "a.pdb").write_text("END\n")
    with pytest.raises(DataError, match="none of 1 files is good enough"):
        prepare_sources(find_sources(folder), tmp_path / "out")

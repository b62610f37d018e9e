//! The networks, names, shapes and types that `docs/onnx.md` states are those that `export` writes.

#[cfg(test)]
mod document {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use bevfusion::config::ModelConfig;
    use bevfusion::graph::{DType, Graph, Port, networks};
    use bevfusion::weights::{Tensor, TensorData, Weights, expected_tensors};

    /// Direction, name, shape, type.
    type Row = (String, String, Vec<usize>, String);

    fn document() -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/onnx.md");
        fs::read_to_string(path).expect("docs/onnx.md")
    }

    /// Cells of the table rows of a text; the rule below the head is left out.
    fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
        let lines = text.lines().filter(|line| line.starts_with('|'));
        let rows = lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect());
        rows.filter(|cells: &Vec<&str>| !cells.iter().all(|cell| cell.starts_with("---")))
    }

    fn quoted(cell: &str) -> &str {
        cell.trim_matches('`')
    }

    /// Values of the symbols in a model's column.
    fn symbols<'d>(document: &'d str, model: &str) -> BTreeMap<&'d str, usize> {
        let section = document
            .split("\n## ")
            .find(|part| part.starts_with("Symbols"));
        let mut table = rows(section.expect("a section Symbols"));
        let head = table.next().expect("a head");
        let column = head.iter().position(|cell| quoted(cell) == model);
        let column = column.expect("a column for the model");
        let values = table.map(|row| (row[0], row[column].parse::<usize>().ok()));
        values
            .filter_map(|(symbol, value)| Some((symbol, value?)))
            .collect()
    }

    fn extents(shape: &str, symbols: &BTreeMap<&str, usize>) -> Vec<usize> {
        let inner = quoted(shape).trim_matches(['[', ']']);
        let extent = |word: &str| {
            let known = word.parse().ok().or_else(|| symbols.get(word).copied());
            known.unwrap_or_else(|| panic!("{word} in {shape} is no symbol of this model"))
        };
        inner.split(", ").map(extent).collect()
    }

    /// The documented interface of one network.
    fn documented(document: &str, network: &str, symbols: &BTreeMap<&str, usize>) -> Vec<Row> {
        let section = document
            .split("\n### ")
            .find(|part| part.lines().next() == Some(network));
        let section = section.unwrap_or_else(|| panic!("docs/onnx.md has no section {network}"));
        let section = section.split("\n## ").next().expect("the section itself");
        let row = |cells: Vec<&str>| {
            let shape = extents(cells[2], symbols);
            (
                cells[0].into(),
                quoted(cells[1]).into(),
                shape,
                cells[3].into(),
            )
        };
        rows(section).skip(1).map(row).collect()
    }

    fn written(graph: &Graph) -> Vec<Row> {
        let row = |direction: &str, port: &Port| {
            let value = graph.value(port.value);
            let kind = match value.dtype {
                DType::F32 => "float32",
                DType::I64 => "int64",
            };
            (
                direction.to_owned(),
                port.name.clone(),
                value.shape.clone(),
                kind.to_owned(),
            )
        };
        let inputs = graph.inputs.iter().map(|port| row("in", port));
        let outputs = graph.outputs.iter().map(|port| row("out", port));
        inputs.chain(outputs).collect()
    }

    /// Ones everywhere: only shapes matter here.
    fn ones(config: &ModelConfig) -> Weights {
        let tensor = |shape: Vec<usize>| Tensor {
            data: TensorData::F32(vec![1.0; shape.iter().product()]),
            shape,
        };
        let expected = expected_tensors(config).into_iter();
        Weights {
            tensors: expected.map(|t| (t.name, tensor(t.shape))).collect(),
        }
    }

    fn compare(model: &str) {
        let document = document();
        let symbols = symbols(&document, model);
        let config = ModelConfig::preset(model).expect("a shipped model");
        let graphs = networks::all(&config, &ones(&config)).expect("networks of a shipped model");
        for graph in &graphs {
            let want = written(graph);
            assert_eq!(
                documented(&document, &graph.name, &symbols),
                want,
                "{model} {}",
                graph.name
            );
        }
        let with_decoder = usize::from(config.bev_decoder.is_some());
        assert_eq!(graphs.len(), 4 + with_decoder);
    }

    #[test]
    fn the_document_says_what_nuscenes_cl_exports() {
        compare("nuscenes_CL");
    }

    #[test]
    fn the_document_says_what_t4_cl_exports() {
        compare("t4_CL");
    }

    #[test]
    fn the_document_says_what_t4_c_exports() {
        compare("t4_C");
    }
}

//! Signatures against the ops that they describe, and the page's table against the signatures.

use std::collections::HashMap;
use std::fs;

use libtest_mimic::{Failed, Trial};
use vistok::graph::{Case, Graph, Named, Node, Signature, Tensor};
use vistok::kernel::Elem;
use vistok::ops;
use vistok::verify::with_gradients;

/// Where the table stands in the page.
const MARKS: [&str; 2] = ["<!-- ops: written by the test -->\n", "<!-- ops: end -->\n"];
/// Set it to write the table instead of comparing it.
const WRITE: &str = "WRITE_PAGE";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("page::every op has one signature, and comes back from its attributes", round_trips),
        Trial::test("page::signatures say the shapes that ops take and give", shapes),
        Trial::test("page::wrong attributes are refused with those that there are", refusals),
        Trial::test("page::the table is the code's", table),
    ]
}

/// Every node of every case, those of the gradients among them.
fn nodes(mut each: impl FnMut(&Graph, &Node) -> Result<(), Failed>) -> Result<(), Failed> {
    let mut cases: Vec<Case> = ops::cases();
    // Some ops only ever follow others backward, and models use them in f16 too.
    cases.retain(|case| case.inputs.iter().all(|input| input.shape.count() < 1 << 24));
    for case in &cases {
        for elem in [Elem::F32, Elem::F16] {
            let (graph, _) = with_gradients(case, elem)?;
            for node in graph.nodes() {
                each(&graph, node)?;
            }
        }
    }
    Ok(())
}

fn round_trips() -> Result<(), Failed> {
    let mut unseen: Vec<&str> = ops::signatures().map(|signature| signature.name).collect();
    let all = unseen.len();
    unseen.sort_unstable();
    unseen.dedup();
    if unseen.len() != all {
        return Err(Failed::from("two signatures have one name"));
    }
    nodes(|_, node| {
        let signature = ops::signature(node.op.name())?;
        let attributes = signature.attributes_of(&*node.op).ok_or("the signature is of another type")?;
        let again = signature.op(&attributes)?;
        if format!("{again:?}") != format!("{:?}", node.op) {
            return Err(Failed::from(format!("{:?} came back from {attributes} as {again:?}", node.op)));
        }
        unseen.retain(|name| *name != signature.name);
        Ok(())
    })?;
    if unseen.is_empty() { Ok(()) } else { Err(Failed::from(format!("no case has {unseen:?}"))) }
}

fn shapes() -> Result<(), Failed> {
    nodes(|graph, node| {
        let signature = ops::signature(node.op.name())?;
        let mut letters = HashMap::new();
        for (side, values) in [(signature.inputs, &node.inputs), (signature.outputs, &node.outputs)] {
            let needed = side.iter().filter(|(name, _)| !name.ends_with('?')).count();
            let repeated = side.last().filter(|(name, _)| name.ends_with('*'));
            let most = if repeated.is_some() { usize::MAX } else { side.len() };
            if !(needed..=most).contains(&values.len()) {
                return Err(Failed::from(format!("{signature}: a node has {} tensors there", values.len())));
            }
            for (named, value) in side.iter().chain(repeated.into_iter().cycle()).zip(values) {
                fits([named.0, named.1], graph.tensor(*value), &mut letters)
                    .map_err(|problem| format!("{signature}: {problem}, in {:?}", node.op))?;
            }
        }
        Ok(())
    })
}

/// Whether a tensor is what is written of it, equal letters being equal sizes throughout the node.
fn fits([name, written]: [&str; 2], tensor: &Tensor, letters: &mut HashMap<String, usize>) -> Result<(), String> {
    let (elem, axes) = written.split_once(" [").ok_or("no type and axes")?;
    if let Some((one, other)) = axes.split_once("] or [") {
        let mut own = letters.clone();
        let fitted = fits([name, &format!("{elem} [{one}]")], tensor, &mut own);
        let fitted = fitted.map(|()| *letters = own);
        return fitted.or_else(|_| fits([name, &format!("{elem} [{other}")], tensor, letters));
    }
    let axes: Vec<&str> = axes.strip_suffix(']').ok_or("no axes")?.split(", ").collect();
    let mut bind = |letter: &str, size: usize| match *letters.entry(letter.to_owned()).or_insert(size) {
        known if known == size => Ok(()),
        known => Err(format!("{name} is {tensor}, where {letter} is {size} and was {known}")),
    };
    if elem == "T" {
        bind(elem, tensor.elem as usize)?;
    } else if !elem.split(" or ").any(|elem| elem == tensor.elem.to_string()) {
        return Err(format!("{name} is {tensor} and is written {written}"));
    }
    let open = axes.iter().position(|axis| *axis == "..");
    let (front, back) = open.map_or((&axes[..], &[][..]), |at| (&axes[..at], &axes[at + 1..]));
    let (rank, written_rank) = (tensor.shape.len(), front.len() + back.len());
    if rank < written_rank || (open.is_none() && rank != written_rank) {
        return Err(format!("{name} is {tensor} and is written {written}"));
    }
    let sizes = tensor.shape[..front.len()].iter().chain(&tensor.shape[rank - back.len()..]);
    for (axis, &size) in front.iter().chain(back).zip(sizes) {
        match axis.parse::<usize>() {
            Ok(number) if number != size => return Err(format!("{name} is {tensor} and is written {written}")),
            Ok(_) => {}
            // `C/groups`, `m or k`: no plain letter, not compared.
            Err(_) if axis.contains(['/', ' ']) => {}
            Err(_) => bind(axis, size)?,
        }
    }
    Ok(())
}

fn refusals() -> Result<(), Failed> {
    let known = "stride ([rows, columns] from patch to patch), padding";
    for (op, attributes, words) in [
        ("conv3d", "{}", ["no op is called `conv3d`", "conv2d, conv2d_backward_x"]),
        ("conv2d", r#"{"stride": [1, 1], "padding": [0, 0]}"#, ["`groups` is missing", known]),
        (
            "conv2d",
            r#"{"stride": [1, 1], "padding": [0, 0], "groups": 1, "dilation": 1}"#,
            ["no attribute `dilation`", known],
        ),
        ("conv2d", r#"{"stride": 1, "padding": [0, 0], "groups": 1}"#, ["invalid type", known]),
        ("conv2d", r#"{"stride": [1, -1], "padding": [0, 0], "groups": 1}"#, ["invalid value", known]),
        ("map", r#"{"function": "tanh"}"#, ["unknown variant `tanh`", "\"relu\""]),
        ("softmax", r#"{"axis": 1}"#, ["no attribute `axis`", "its attributes are: none"]),
        ("softmax", "[]", ["must be a JSON object", "invalid type"]),
        ("softmax", "{", ["must be a JSON object", "EOF"]),
    ] {
        let made = ops::signature(op).and_then(|signature| signature.op(attributes));
        let said = made.err().ok_or(format!("{op} took {attributes}"))?.to_string();
        if let Some(word) = words.iter().find(|word| !said.contains(**word)) {
            return Err(Failed::from(format!("{op} {attributes}: `{said}` does not say `{word}`")));
        }
    }
    Ok(())
}

fn table() -> Result<(), Failed> {
    let path = super::folder().join("README.md");
    let page = fs::read_to_string(&path)?;
    let wanted: String = ops::signatures().map(entry).collect();
    let (before, rest) = page.split_once(MARKS[0]).ok_or("the page has no place for the table")?;
    let (found, after) = rest.split_once(MARKS[1]).ok_or("the page has no end of the table")?;
    if found == wanted {
        return Ok(());
    }
    if std::env::var_os(WRITE).is_some() {
        fs::write(path, [before, MARKS[0], &wanted, MARKS[1], after].concat())?;
        return Ok(());
    }
    Err(Failed::from(format!("the table is out of date: `{WRITE}=1 cargo test --test oracle page` writes it anew")))
}

fn entry(signature: &'static Signature) -> String {
    let list = |title: &str, all: &[Named]| match all {
        [] => String::new(),
        all => {
            let lines: String = all.iter().map(|(name, what)| format!("  - `{name}`: {what}\n")).collect();
            format!("- {title}\n{lines}")
        }
    };
    let code = |all: &[Named]| all.iter().map(|(name, what)| format!("`{name}` {what}")).collect::<Vec<_>>().join("; ");
    let inputs = if signature.inputs.is_empty() { "none".to_owned() } else { code(signature.inputs) };
    format!(
        "### {}\n\n{}\n\n- inputs: {inputs}\n- outputs: {}\n{}\n",
        signature.name,
        signature.formula,
        code(signature.outputs),
        list("attributes", signature.attributes)
    )
}

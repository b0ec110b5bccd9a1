//! Cuts the bulk instructions of one core module.

use std::borrow::Cow;
use std::collections::BTreeMap;

use wasm_encoder::{Encode as _, InstructionSink};
use wasmparser::{
    BinaryReaderError, DataSectionReader, FunctionBody, ImportSectionReader, Operator, TypeRef, TypeSectionReader,
    Validator, WasmFeatures,
};

use super::Error;
use super::edit::{Edit, Section, sections, sections_after};
use super::pieces::{Bulk, FUNCTION_TYPE, PIECE_BYTES};

const CUSTOM: u8 = 0;
const TYPE: u8 = 1;
const IMPORT: u8 = 2;
const FUNCTION: u8 = 3;
const CODE: u8 = 10;
const DATA: u8 = 11;
/// In the custom section `name`, which has sections itself.
const FUNCTION_NAMES: u8 = 1;

/// One function for each pair of memories, and for each large data segment and memory. Toolchains make one or two memories.
const FUNCTIONS_MAX: usize = 10_000;

/// Returns a module that does the same, and whose bulk instructions can be interrupted.
pub(super) fn cut(wasm: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    let outline = Outline::read(wasm)?;
    let mut helpers = Helpers::after(outline.functions);
    let mut edit = Edit::new(wasm);
    for section in sections(wasm) {
        let section = section?;
        if section.id == CODE
            && let Cow::Owned(code) = cut_code(&section, &outline, &mut helpers)?
        {
            edit.replace(section.range.clone(), |output| section.encode_with(&code, output));
        }
    }
    let Cow::Owned(cut) = edit.finish() else { return Ok(Cow::Borrowed(wasm)) };
    // An index that names nothing must not come to name one of ours. Which features there are is the engine's matter.
    Validator::new_with_features(WasmFeatures::all()).validate_all(wasm)?;
    Ok(Cow::Owned(with_helpers(&cut, &outline, &helpers)?))
}

/// What has to be known of a module before its code is read.
#[derive(Default)]
struct Outline {
    types: u32,
    /// Imported ones and its own.
    functions: u32,
    data_bytes: Vec<usize>,
}

impl Outline {
    fn read(wasm: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut outline = Self::default();
        for section in sections(wasm) {
            outline.take(&section?)?;
        }
        Ok(outline)
    }

    fn take(&mut self, section: &Section<'_>) -> Result<(), BinaryReaderError> {
        match section.id {
            TYPE => {
                for group in TypeSectionReader::new(section.reader())? {
                    self.types = self.types.saturating_add(u32::try_from(group?.types().len()).unwrap_or(u32::MAX));
                }
            }
            IMPORT => {
                for import in ImportSectionReader::new(section.reader())?.into_imports() {
                    let is_function = matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
                    self.functions = self.functions.saturating_add(u32::from(is_function));
                }
            }
            FUNCTION => self.functions = self.functions.saturating_add(section.reader().read_var_u32()?),
            DATA => {
                for data in DataSectionReader::new(section.reader())? {
                    self.data_bytes.push(data?.data.len());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Reports whether `bulk`, with `count` if that is a constant, may be longer than one piece.
    fn may_be_long(&self, bulk: Bulk, count: Option<u32>) -> bool {
        let is_long = |bytes: usize| bytes > PIECE_BYTES as usize;
        let of_segment = match bulk {
            Bulk::Init { data, .. } => self.data_bytes.get(data as usize).copied(),
            Bulk::Fill { .. } | Bulk::Copy { .. } => None,
        };
        count.is_none_or(|count| is_long(count as usize)) && of_segment.is_none_or(is_long)
    }
}

/// The functions that are added to a module.
struct Helpers {
    /// The index of the first.
    first: u32,
    places: BTreeMap<Bulk, u32>,
    all: Vec<Bulk>,
}

impl Helpers {
    fn after(functions: u32) -> Self {
        Self { first: functions, places: BTreeMap::new(), all: Vec::new() }
    }

    /// Returns the index of the function that does `bulk`.
    fn index(&mut self, bulk: Bulk) -> Result<u32, Error> {
        if let Some(index) = self.places.get(&bulk) {
            return Ok(*index);
        }
        if self.all.len() == FUNCTIONS_MAX {
            return Err(Error::TooMany(FUNCTIONS_MAX));
        }
        let index = self.indices().end;
        self.places.insert(bulk, index);
        self.all.push(bulk);
        Ok(index)
    }

    fn indices(&self) -> std::ops::Range<u32> {
        let count = u32::try_from(self.all.len()).expect("FUNCTIONS_MAX is less");
        self.first..self.first.saturating_add(count)
    }
}

/// Calls helpers where long bulk instructions were.
fn cut_code<'a>(section: &'a Section<'_>, outline: &Outline, helpers: &mut Helpers) -> Result<Cow<'a, [u8]>, Error> {
    let mut edit = Edit::new(section.content);
    let mut reader = section.reader();
    let base = reader.original_position();
    let count = reader.read_var_u32()?;
    for _ in 0..count {
        let start = reader.original_position();
        let body = FunctionBody::new(reader.read_reader()?);
        if let Cow::Owned(cut) = cut_body(&body, outline, helpers)? {
            edit.replace(start - base..reader.original_position() - base, |output| cut.encode(output));
        }
    }
    Ok(edit.finish())
}

fn cut_body<'a>(body: &FunctionBody<'a>, outline: &Outline, helpers: &mut Helpers) -> Result<Cow<'a, [u8]>, Error> {
    let mut edit = Edit::new(body.as_bytes());
    let mut operators = body.get_operators_reader()?;
    let mut constant = None;
    while !operators.eof() {
        let start = operators.original_position();
        let operator = operators.read()?;
        let end = operators.original_position();
        if let Some(bulk) = Bulk::of(&operator)
            && outline.may_be_long(bulk, constant)
        {
            let index = helpers.index(bulk)?;
            let base = body.range().start;
            edit.replace(start - base..end - base, |output| {
                InstructionSink::new(output).call(index);
            });
        }
        // What comes right before in the code was pushed right before: labels are operators too.
        constant = match operator {
            Operator::I32Const { value } => Some(value.cast_unsigned()),
            _ => None,
        };
    }
    Ok(edit.finish())
}

/// Adds the functions, with their type before and their names after them.
fn with_helpers(wasm: &[u8], outline: &Outline, helpers: &Helpers) -> Result<Vec<u8>, Error> {
    let (mut types, mut bodies) = (Vec::new(), Vec::new());
    for bulk in &helpers.all {
        outline.types.encode(&mut types);
        bulk.function().encode(&mut bodies);
    }
    let count = helpers.all.len();
    let mut edit = Edit::new(wasm);
    for section in sections(wasm) {
        let section = section?;
        edit.replace(section.range.clone(), |output| match section.id {
            TYPE => section.encode_longer(1, &FUNCTION_TYPE, output),
            FUNCTION => section.encode_longer(count, &types, output),
            CODE => section.encode_longer(count, &bodies, output),
            CUSTOM => section.encode_with(&with_names(&section, helpers), output),
            _ => section.encode_with(section.content, output),
        });
    }
    Ok(edit.finish().into_owned())
}

/// Names the functions if `section` has names. Whatever is wrong with names is nobody's business but a debugger's.
fn with_names<'a>(section: &'a Section<'_>, helpers: &Helpers) -> Cow<'a, [u8]> {
    let untouched = Cow::Borrowed(section.content);
    let mut reader = section.reader();
    if reader.read_string().ok() != Some("name") {
        return untouched;
    }
    let mut names = Vec::new();
    for (index, bulk) in helpers.indices().zip(&helpers.all) {
        index.encode(&mut names);
        bulk.name().encode(&mut names);
    }
    let mut edit = Edit::new(section.content);
    for kind in sections_after(section.content, reader.current_position()) {
        let Ok(kind) = kind else { return untouched };
        if kind.id == FUNCTION_NAMES {
            edit.replace(kind.range.clone(), |output| kind.encode_longer(helpers.all.len(), &names, output));
        }
    }
    edit.finish()
}

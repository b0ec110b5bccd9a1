//! The functions that do a bulk instruction in pieces.

use wasm_encoder::{BlockType, Function, InstructionSink};
use wasmparser::Operator;

/// How much is done between two looks at the epoch: 10 microseconds where the memory is warm, and a few hundred where the
/// kernel has to find it first.
pub(super) const PIECE_BYTES: u32 = 256 << 10;

/// The parameters of all three instructions, in their order.
const TO: u32 = 0;
/// Where from; of `memory.fill` the value.
const FROM: u32 = 1;
const COUNT: u32 = 2;

/// What all of the functions are in the type section: `(func (param i32 i32 i32))`.
pub(super) const FUNCTION_TYPE: [u8; 6] = [0x60, 3, 0x7f, 0x7f, 0x7f, 0];

/// A bulk instruction with what is fixed about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bulk {
    /// `memory.fill`.
    Fill { memory: u32 },
    /// `memory.copy`.
    Copy { to: u32, from: u32 },
    /// `memory.init`.
    Init { memory: u32, data: u32 },
}

impl Bulk {
    pub(super) fn of(operator: &Operator<'_>) -> Option<Self> {
        match *operator {
            Operator::MemoryFill { mem } => Some(Self::Fill { memory: mem }),
            Operator::MemoryCopy { dst_mem, src_mem } => Some(Self::Copy { to: dst_mem, from: src_mem }),
            Operator::MemoryInit { mem, data_index } => Some(Self::Init { memory: mem, data: data_index }),
            _ => None,
        }
    }

    /// Returns what a backtrace calls the function.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fill { .. } => "memory.fill",
            Self::Copy { .. } => "memory.copy",
            Self::Init { .. } => "memory.init",
        }
    }

    /// Returns the function that does it in pieces.
    pub(super) fn function(self) -> Function {
        let mut function = Function::new([]);
        let mut code = function.instructions();
        code.local_get(COUNT).i32_const(PIECE_BYTES.cast_signed()).i32_le_u();
        self.whole_if(&mut code);
        self.is_out_of_bounds(&mut code);
        self.whole_if(&mut code);
        match self {
            // What is below is read before it is written over from below, and the other way round.
            Self::Copy { .. } => {
                code.local_get(TO).local_get(FROM).i32_le_u().if_(BlockType::Empty);
                self.upwards(&mut code);
                code.else_();
                self.downwards(&mut code);
                code.end();
            }
            // Downwards, because a segment may have been dropped: then already the first piece traps.
            Self::Fill { .. } | Self::Init { .. } => self.downwards(&mut code),
        }
        self.whole(&mut code);
        code.end();
        function
    }

    /// Does the instruction with the operands on the stack.
    fn instruction(self, code: &mut InstructionSink<'_>) {
        match self {
            Self::Fill { memory } => code.memory_fill(memory),
            Self::Copy { to, from } => code.memory_copy(to, from),
            Self::Init { memory, data } => code.memory_init(memory, data),
        };
    }

    /// Does all that is left.
    fn whole(self, code: &mut InstructionSink<'_>) {
        code.local_get(TO).local_get(FROM).local_get(COUNT);
        self.instruction(code);
    }

    fn whole_if(self, code: &mut InstructionSink<'_>) {
        code.if_(BlockType::Empty);
        self.whole(code);
        code.return_().end();
    }

    /// Asks whether one of the ranges ends beyond what it is a range of.
    fn is_out_of_bounds(self, code: &mut InstructionSink<'_>) {
        let ends_beyond = |code: &mut InstructionSink<'_>, start: u32, memory: Option<u32>| {
            code.local_get(start).i64_extend_i32_u().local_get(COUNT).i64_extend_i32_u().i64_add();
            match memory {
                Some(memory) => code.memory_size(memory).i64_extend_i32_u().i64_const(16).i64_shl(),
                // No segment is that large; the first piece sees how large this one is.
                None => code.i64_const(i64::from(u32::MAX)),
            };
            code.i64_gt_u();
        };
        match self {
            Self::Fill { memory } => ends_beyond(code, TO, Some(memory)),
            Self::Copy { to, from } => {
                ends_beyond(code, TO, Some(to));
                ends_beyond(code, FROM, Some(from));
                code.i32_or();
            }
            Self::Init { memory, .. } => {
                ends_beyond(code, TO, Some(memory));
                ends_beyond(code, FROM, None);
                code.i32_or();
            }
        }
    }

    /// Does pieces from the upper end, until one or less is left.
    fn downwards(self, code: &mut InstructionSink<'_>) {
        code.loop_(BlockType::Empty);
        code.local_get(COUNT).i32_const(PIECE_BYTES.cast_signed()).i32_sub().local_set(COUNT);
        code.local_get(TO).local_get(COUNT).i32_add().local_get(FROM);
        match self {
            Self::Fill { .. } => {}
            Self::Copy { .. } | Self::Init { .. } => {
                code.local_get(COUNT).i32_add();
            }
        }
        code.i32_const(PIECE_BYTES.cast_signed());
        self.instruction(code);
        again_if_long(code);
    }

    /// Does pieces from the lower end, until one or less is left.
    fn upwards(self, code: &mut InstructionSink<'_>) {
        code.loop_(BlockType::Empty);
        code.local_get(TO).local_get(FROM).i32_const(PIECE_BYTES.cast_signed());
        self.instruction(code);
        for start in [TO, FROM] {
            code.local_get(start).i32_const(PIECE_BYTES.cast_signed()).i32_add().local_set(start);
        }
        code.local_get(COUNT).i32_const(PIECE_BYTES.cast_signed()).i32_sub().local_set(COUNT);
        again_if_long(code);
    }
}

fn again_if_long(code: &mut InstructionSink<'_>) {
    code.local_get(COUNT).i32_const(PIECE_BYTES.cast_signed()).i32_gt_u().br_if(0).end();
}

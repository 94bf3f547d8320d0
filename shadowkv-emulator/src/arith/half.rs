//! temporary
use super::Lanes32;
#[derive(Clone,Copy,Debug,PartialEq)] pub struct HalfOperation;
impl HalfOperation { pub fn parse(_o:&str,_m:&[&str])->Option<HalfOperation> { Some(HalfOperation) } #[inline(always)] pub fn apply(&self,s:&[Lanes32])->Lanes32 { s[0] } }

//! temporary
use super::{Lanes32,Lanes64}; use crate::ptx::ast::ScalarType;
#[derive(Clone,Copy,Debug,PartialEq)] pub struct Conversion { pub to: ScalarType, pub from: ScalarType }
impl Conversion { pub fn parse(m:&[&str])->Option<Conversion> { let t:Vec<_>=m.iter().filter_map(|m| ScalarType::from_name(m)).collect(); let [to,from]=t.as_slice() else {return None}; Some(Conversion{to:*to,from:*from}) }
 #[inline(always)] pub fn apply(&self,a:&Lanes64,b:&Lanes64)->Lanes64 { use ScalarType::*; let mut d=[0;32]; for i in 0..32 { let x=a[i]; let fx=f32::from_bits(x as u32); d[i]=match (self.to,self.from) { (F64,F32)=>f64::from(fx).to_bits(), (F32,F64)=>u64::from((f64::from_bits(x) as f32).to_bits()), (F64,S64)=>(x as i64 as f64).to_bits(), (F32,U64)=>u64::from((x as f32).to_bits()), (F32,F32)=>u64::from(fx.trunc().to_bits()), (F16,F32)=>u64::from(half::f16::from_f32(fx).to_bits()), (F32,F16)=>u64::from(half::f16::from_bits(x as u16).to_f32().to_bits()),(F16x2,F32)=>u64::from(half::f16::from_f32(fx).to_bits())<<16|u64::from(half::f16::from_f32(f32::from_bits(b[i] as u32)).to_bits()), (E4m3x2,F32)=>0, (U64,U16)=>x, (S32,S16)=> x as u16 as i16 as i32 as u32 as u64, (S32|U32,U8)=> x&255, _=>x }; } d } }
#[inline(always)] pub fn s64_from_s32(a:&Lanes32)->Lanes64 { let mut d=[0;32]; for i in 0..32 {d[i]=a[i] as i32 as i64 as u64;} d }
#[inline(always)] pub fn u64_from_u32(a:&Lanes32)->Lanes64 { let mut d=[0;32]; for i in 0..32 {d[i]=u64::from(a[i]);} d }
#[inline(always)] pub fn f32_from_s32(a:&Lanes32)->Lanes32 { let mut d=[0;32]; for i in 0..32 {d[i]=(a[i] as i32 as f32).to_bits();} d }
#[inline(always)] pub fn s32_from_f32_rni(a:&Lanes32)->Lanes32 { let mut d=[0;32]; for i in 0..32 {d[i]=f32::from_bits(a[i]).round_ties_even() as i32 as u32;} d }
#[inline(always)] pub fn s32_from_f32_rzi(a:&Lanes32)->Lanes32 { let mut d=[0;32]; for i in 0..32 {d[i]=f32::from_bits(a[i]) as i32 as u32;} d }
#[inline(always)] pub fn rint_f32(a:&Lanes32)->Lanes32 { let mut d=[0;32]; for i in 0..32 {d[i]=f32::from_bits(a[i]).round_ties_even().to_bits();} d }
#[inline(always)] pub fn bf16x2_from_f32(a:&Lanes32,b:&Lanes32)->Lanes32 { let r=|q:u32| if q&0x7fffffff>0x7f800000 {0x7fff} else {(q+0x7fff+(q>>16&1))>>16}; let mut d=[0;32]; for i in 0..32 {d[i]=r(a[i])<<16|r(b[i]);} d }

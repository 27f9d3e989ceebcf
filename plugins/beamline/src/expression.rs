//! Arithmetic expressions of jobs, such as `data + 0.1*dark**2`: numbers, names, and nothing that could do harm.

use isard_core::error::{Error, Result};

/// A parsed expression in some variables.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    Number(f64),
    /// A variable by its place in the list of names.
    Variable(usize),
    Negative(Box<Expression>),
    Binary(char, Box<Expression>, Box<Expression>),
    Call(Function, Vec<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Sqrt,
    Abs,
    Maximum,
    Minimum,
}

/// Nested deeper than this is no formula of a person.
const DEEPEST: usize = 64;

impl Expression {
    /// Parses a text; `names` are the variables.
    pub(crate) fn parse(text: &str, names: &[&str]) -> Result<Expression> {
        let mut parser = Parser { text, at: 0, names, depth: 0 };
        let found = parser.sum()?;
        parser.space();
        match parser.at == text.len() {
            true => Ok(found),
            false => Err(parser.fault("an operator")),
        }
    }

    /// Its value for values of the variables.
    pub(crate) fn value(&self, variables: &[f64]) -> f64 {
        match self {
            Expression::Number(x) => *x,
            Expression::Variable(k) => variables[*k],
            Expression::Negative(x) => -x.value(variables),
            Expression::Binary(operator, a, b) => {
                let (a, b) = (a.value(variables), b.value(variables));
                match operator {
                    '+' => a + b,
                    '-' => a - b,
                    '*' => a * b,
                    '/' => a / b,
                    _ => a.powf(b),
                }
            }
            Expression::Call(function, arguments) => {
                let of = |k: usize| arguments[k].value(variables);
                match function {
                    Function::Sqrt => of(0).sqrt(),
                    Function::Abs => of(0).abs(),
                    Function::Maximum => of(0).max(of(1)),
                    Function::Minimum => of(0).min(of(1)),
                }
            }
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    names: &'a [&'a str],
    depth: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes a piece if it comes next.
    fn take(&mut self, piece: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(piece);
        self.at += if found { piece.len() } else { 0 };
        found
    }

    fn fault(&self, wanted: &str) -> Error {
        let (text, column) = (self.text, self.at + 1);
        let found = self.rest().chars().next().map_or("the end".into(), |c| format!("`{c}`"));
        Error::recipe(format!("the formula `{text}`: found {found} at character {column}, wanted {wanted}"))
            .help(format!(
                "it may hold {}, numbers, + - * / **, brackets, sqrt, abs, maximum, minimum",
                self.names.join(", ")
            ))
    }

    fn sum(&mut self) -> Result<Expression> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.fault("fewer brackets"));
        }
        let mut left = self.product()?;
        loop {
            let operator = match () {
                () if self.take("+") => '+',
                () if self.take("-") => '-',
                () => break,
            };
            left = Expression::Binary(operator, left.into(), self.product()?.into());
        }
        self.depth -= 1;
        Ok(left)
    }

    fn product(&mut self) -> Result<Expression> {
        let mut left = self.signed()?;
        loop {
            self.space();
            let operator = match () {
                () if self.rest().starts_with("**") => break,
                () if self.take("*") => '*',
                () if self.take("/") => '/',
                () => break,
            };
            left = Expression::Binary(operator, left.into(), self.signed()?.into());
        }
        Ok(left)
    }

    /// A sign binds less than a power: `-2**2` is -4.
    fn signed(&mut self) -> Result<Expression> {
        let mut negative = false;
        loop {
            match () {
                () if self.take("-") => negative = !negative,
                () if self.take("+") => (),
                () => break,
            }
        }
        let found = self.power()?;
        Ok(if negative { Expression::Negative(found.into()) } else { found })
    }

    fn power(&mut self) -> Result<Expression> {
        let base = self.atom()?;
        if !self.take("**") {
            return Ok(base);
        }
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.fault("fewer powers"));
        }
        let found = Expression::Binary('^', base.into(), self.signed()?.into());
        self.depth -= 1;
        Ok(found)
    }

    fn atom(&mut self) -> Result<Expression> {
        if self.take("(") {
            let found = self.sum()?;
            return if self.take(")") { Ok(found) } else { Err(self.fault("`)`")) };
        }
        self.space();
        let word: String =
            self.rest().chars().take_while(|c| c.is_ascii_alphanumeric() || "._".contains(*c)).collect();
        if word.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return self.number();
        }
        if let Some(k) = self.names.iter().position(|name| *name == word) {
            self.at += word.len();
            return Ok(Expression::Variable(k));
        }
        let (function, count) = match word.as_str() {
            "sqrt" => (Function::Sqrt, 1),
            "abs" => (Function::Abs, 1),
            "maximum" => (Function::Maximum, 2),
            "minimum" => (Function::Minimum, 2),
            _ => return Err(self.fault("a number or a name")),
        };
        self.at += word.len();
        let mut arguments = vec![];
        for k in 0..count {
            if !self.take(if k == 0 { "(" } else { "," }) {
                return Err(self.fault(if k == 0 { "`(`" } else { "`,`" }));
            }
            arguments.push(self.sum()?);
        }
        if self.take(")") { Ok(Expression::Call(function, arguments)) } else { Err(self.fault("`)`")) }
    }

    fn number(&mut self) -> Result<Expression> {
        let bytes = self.rest().as_bytes();
        let mut n = bytes.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
        if bytes.get(n).is_some_and(|b| b.eq_ignore_ascii_case(&b'e')) {
            let sign = usize::from(matches!(bytes.get(n + 1), Some(b'+' | b'-')));
            let digits = bytes[n + 1 + sign..].iter().take_while(|b| b.is_ascii_digit()).count();
            n += if digits > 0 { 1 + sign + digits } else { 0 };
        }
        let number = self.rest()[..n].parse().map_err(|_| self.fault("a number"))?;
        self.at += n;
        Ok(Expression::Number(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // What Python says of the same text with data = 10 and dark = 3.
    #[test]
    fn formulas_come_to_what_python_says() {
        for (text, wanted) in [
            ("data + dark", 13.0),
            ("data - dark - 1", 6.0),
            ("2*data/4 + 0.1*dark**2", 5.9),
            ("-2**2", -4.0),
            ("2**-1", 0.5),
            ("2**3**2", 512.0),
            ("maximum(1, data - 2 * dark) + sqrt(abs(-9))", 7.0),
            ("1.5e1 + .5", 15.5),
            ("(data+dark)*(data-dark)", 91.0),
            ("minimum(data,dark)", 3.0),
        ] {
            let found = Expression::parse(text, &["data", "dark"]).unwrap().value(&[10.0, 3.0]);
            assert!((found - wanted).abs() < 1e-12, "{text}: {found} is not {wanted}");
        }
    }

    #[test]
    fn what_is_no_formula_is_refused() {
        let deep = format!("{}1{}", "(".repeat(100), ")".repeat(100));
        for text in
            ["", "data +", "open('x')", "data dark", "1..2", "sqrt(1, 2)", "__import__", "(1", "1)", &deep]
        {
            assert!(Expression::parse(text, &["data", "dark"]).is_err(), "{text}");
        }
        let error = Expression::parse("data + drak", &["data", "dark"]).unwrap_err().to_string();
        assert!(error.contains("found `d` at character 8"), "{error}");
    }
}

"""The paper's 150-case evaluation as software: cases, answers, scores, ratings, figures, report."""
